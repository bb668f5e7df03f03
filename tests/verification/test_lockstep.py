"""The lockstep: what it compares, how it names a place, and what it keeps in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from llorch import converter, runtime
from llorch.formats import SafetensorsTensor
from llorch.verification import report_page, report_sarif, verify
from llorch.verification.checks import CHECKS
from llorch.verification.lockstep import with_scores
from llorch.verification.readings import Run, cuts, sizes_of
from llorch.verification.report import Report
from llorch.verification.subject import Subject
from tests.models.tiny import random_llama
from tests.sarif import valid_results
from tests.verification.mutations import halves_to_pairs
from tests.verification.planting import DEVICE, Planted


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """A float32 conversion of five layers."""
    place = tmp_path_factory.mktemp("right")
    (place / "source.gguf").write_bytes(random_llama(layers=5).build())
    converter.convert(place / "source.gguf", place / "made", dtype="float32")
    return Planted(place / "source.gguf", place / "made")


@pytest.fixture
def faulty(right: Planted, tmp_path: Path) -> Planted:
    """A copy of the folder with unpermuted queries in layer 3."""
    pair = Planted.copied(right.source, right.folder, tmp_path / "made")
    pair.change("model.layers.3.self_attn.q_proj.weight", halves_to_pairs(4))
    return pair


@pytest.mark.parametrize("chunks", [(), (3, 1)], ids=["whole", "in chunks"])
def test_layer_by_layer_gives_what_the_model_gives_at_once(right: Planted, chunks: tuple[int, ...]) -> None:
    ids = list(range(20, 32))
    with runtime.load(right.source) as model, torch.inference_mode():
        run = Run(model, ids, chunks)
        for index in range(model.traits.n_layers):
            run.layer(index)
        torch.testing.assert_close(run.logits(run.end()), model.logits(ids), rtol=1e-4, atol=1e-4)


def test_a_released_layer_is_read_again(right: Planted) -> None:
    with runtime.load(right.source) as model:
        before = model.logits([1, 2, 3])
        for layer in model.decoder.weights.layers:
            layer.release()
        assert torch.equal(model.logits([1, 2, 3]), before)


def test_chunks_cover_every_position_once() -> None:
    assert list(cuts(10, (7, 1, 24))) == [(0, 7), (7, 8), (8, 10)]
    assert list(cuts(5, (7,))) == [(0, 5)]
    assert list(cuts(5, ())) == [(0, 5)]


def test_the_first_fault_is_named_and_later_layers_are_judged_by_themselves(faulty: Planted) -> None:
    faulty.change("model.layers.4.mlp.down_proj.weight", lambda w: w[::-1])
    with Subject(faulty.folder, faulty.source, level="full", device=DEVICE) as subject:
        found = subject.lockstep
    assert [(fault.layer, fault.step) for fault in found.faults] == [(3, "q"), (4, "ffn_output")]
    assert found.explanation.startswith("permutation")
    assert [one.layer for one in found.curve if one.relative > one.limit] == [3, 4]


def test_a_right_folder_has_no_fault_and_its_noise_is_that_of_float32(right: Planted) -> None:
    with Subject(right.folder, right.source, level="full", device=DEVICE) as subject:
        found = subject.lockstep
    assert not found.faults
    assert all(1e-9 < one.noise < 1e-5 for one in found.curve)


def test_sizes_are_those_of_the_tensors(right: Planted) -> None:
    with Subject(right.folder, right.source, level="full", device=DEVICE) as subject:
        sizes = sizes_of(subject.tensors)
        of_layer = sum(w.nbytes // 4 for name, w in subject.tensors.items() if ".layers.1." in name)
        assert sizes.layer == of_layer
        assert sizes.weights == sum(w.nbytes // 4 for w in subject.tensors.values())


def test_the_page_and_the_document_for_code_hosts_show_the_layer(faulty: Planted) -> None:
    report = verify(faulty.folder, faulty.source)
    page = report_page(report)
    assert "The readings part at layer 3, q" in page
    assert "<script" not in page
    found = {row["ruleId"]: row for row in valid_results(json.dumps(report_sarif(report)))}
    assert found["lockstep"]["level"] == "error"
    assert "layer 3, q" in found["lockstep"]["message"]["text"]
    again = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert (again.outcome, again.lockstep) == (report.outcome, report.lockstep)


def test_names_from_files_are_no_markup(faulty: Planted) -> None:
    hostile = faulty.folder.rename(faulty.folder.with_name("<img src=x onerror=alert(1)>"))
    page = report_page(verify(hostile, faulty.source))
    assert "<img" not in page
    assert "&lt;img" in page


def test_shapes_that_do_not_fit_are_said_once(right: Planted, tmp_path: Path) -> None:
    pair = Planted.copied(right.source, right.folder, tmp_path / "made")
    pair.edit("config.json", intermediate_size=128)
    report = verify(pair.folder, pair.source)
    assert [result.name for result in report.results if result.status in ("FAILED", "ERROR")] == [
        "config.sizes"
    ]
    skipped = [result for result in report.results if result.status == "SKIPPED"]
    assert skipped
    assert all("says why" in result.detail for result in skipped if not result.optional)


def test_a_pattern_of_names_leaves_the_checks_of_tensors(right: Planted) -> None:
    report = verify(right.folder, right.source, tensors="*.layers.1.*")
    assert [result.name for result in report.results] == [
        "safetensors.structure",
        "tensors.planned",
        "round_trip",
    ]
    assert report.results[-1].detail == "9 of 48 tensors"


def test_what_a_large_model_needs_grows_with_its_largest_layer_alone() -> None:
    small, deep, wide = (
        sizes_of(
            {
                f"model.layers.{index}.w": SafetensorsTensor("w", "BF16", (rows, 1024), 0, 0, 2048 * rows)
                for index in range(layers)
            }
        )
        for layers, rows in ((2, 10), (80, 800_000), (80, 1_600_000))
    )
    assert small.is_small
    assert not deep.is_small
    assert deep.bound == 10**9 + 2 * 800_000 * 1024
    assert wide.bound - deep.bound == 2 * 800_000 * 1024


@pytest.mark.parametrize("heads", [1, 2], ids=["key heads of their own", "shared key heads"])
def test_without_rotation_the_order_of_channels_is_no_difference_and_a_wrong_head_is(heads: int) -> None:
    q, k = torch.randn(2, 5, 8), torch.randn(2 // heads, 5, 8)
    order = torch.randperm(8)
    one, other = with_scores({"q": q, "k": k, "v": q}), with_scores({"q": q[..., order], "k": k[..., order]})
    assert list(one) == ["scores", "v"]
    assert torch.allclose(one["scores"], other["scores"], atol=1e-5)
    assert not torch.allclose(one["scores"], with_scores({"q": q.flip(0), "k": k})["scores"], atol=1e-2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("model", ["minimaxm2", "granitehybrid", "nemotronhmoe"])
def test_a_bias_kept_in_float32_and_attention_without_rope_are_no_faults(
    model: str, dtype: str, test_data: Path, tmp_path: Path
) -> None:
    source = test_data / "families" / model / "q4_k_m.gguf"
    converter.convert(source, tmp_path / "made", dtype=dtype)
    with Subject(tmp_path / "made", source, level="quick", device=DEVICE) as subject:
        assert CHECKS["lockstep"](subject).status == "PASSED"
        assert subject.rounding == dtype
