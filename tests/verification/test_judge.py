"""The source that a verification uses, and its result for a folder without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llorch import converter
from llorch.base.errors import InputError
from llorch.verification import verify
from llorch.verification.checks import CHECKS
from llorch.verification.judge import BESIDE
from llorch.verification.report import Report, Status
from llorch.verification.subject import Subject
from tests.models.gguf_writer import STRING, one
from tests.models.tiny import random_llama


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder beside its source."""
    (tmp_path / "source.gguf").write_bytes(random_llama().build())
    converter.convert(tmp_path / "source.gguf", tmp_path / "made")
    return tmp_path / "made"


def test_the_source_that_the_record_names_is_taken_while_it_is_there(made: Path) -> None:
    report = verify(made)
    assert report.against == os.fspath(made / ".." / "source.gguf")
    assert report.outcome == "PASSED"


def test_it_says_which_check_it_makes_and_how_far_it_is_within_the_long_ones(made: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    report = verify(made, progress=lambda name, done, total: told.setdefault(name, []).append((done, total)))
    assert set(told) >= {result.name for result in report.results} - set(BESIDE)
    counted = told["lockstep"][1:]  # the first says that it begins
    assert counted == sorted(counted)
    assert counted[-1][1] > 1


def test_tensors_of_more_than_a_piece_whose_rows_do_not_divide_it_are_taken_back(tmp_path: Path) -> None:
    source = random_llama(layers=1, width=768, heads=8, feed_forward=2048).write(tmp_path / "source.gguf")
    converter.convert(source, tmp_path / "made")
    with Subject(tmp_path / "made", source, level="full", device="cpu") as subject:
        found = CHECKS["round_trip"](subject)
    assert (found.status, found.detail) == (Status.PASSED, "12 of 12 tensors")


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_without_the_same_source_what_needs_it_is_skipped_and_nothing_fails(made: Path, change: str) -> None:
    source = made.parent / "source.gguf"
    if change == "gone":
        source.unlink()
    else:
        source.write_bytes(source.read_bytes() + b"\0")
    report = verify(made)
    assert report.against is None
    assert report.outcome == "INCOMPLETE"
    found = {result.name: result.status for result in report.results}
    assert found["round_trip"] == found["logits.mean"] == found["tokenizer.ids"] == Status.SKIPPED
    assert found["files.digests"] == found["safetensors.structure"] == Status.PASSED
    assert found["logits.chunked"] == found["config.sizes"] == Status.PASSED


def test_a_name_of_a_built_in_template_is_none_that_the_folder_lacks(tmp_path: Path) -> None:
    model = random_llama().key("tokenizer.chat_template", one(STRING, "chatml"))
    (tmp_path / "source.gguf").write_bytes(model.build())
    converter.convert(tmp_path / "source.gguf", tmp_path / "made")
    with Subject(tmp_path / "made", tmp_path / "source.gguf", level="quick", device="cpu") as subject:
        assert CHECKS["template.text"](subject).status == Status.PASSED
        (tmp_path / "made" / "chat_template.jinja").write_text("{{ messages }}")
        assert CHECKS["template.text"](subject).status == Status.FAILED


def test_a_vocabulary_without_special_ids_passes(tmp_path: Path) -> None:
    roles = ("bos", "eos", "padding")
    model = random_llama().drop(*(f"tokenizer.ggml.{role}_token_id" for role in roles))
    (tmp_path / "source.gguf").write_bytes(model.build())
    converter.convert(tmp_path / "source.gguf", tmp_path / "made")
    checks = ("tokenizer.end_ids", "config.special_ids")
    with Subject(tmp_path / "made", tmp_path / "source.gguf", level="quick", device="cpu") as subject:
        assert [CHECKS[name](subject).status for name in checks] == [Status.PASSED] * 2
        config = tmp_path / "made" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"bos_token_id": 3}))
    with Subject(tmp_path / "made", tmp_path / "source.gguf", level="quick", device="cpu") as subject:
        assert CHECKS["config.special_ids"](subject).status == Status.FAILED


def test_a_source_that_is_named_is_taken_whatever_the_record_says(made: Path) -> None:
    other = made.parent / "other.gguf"
    other.write_bytes(random_llama(seed=1).build())
    report = verify(made, other)
    failed = {result.name for result in report.results if result.status == Status.FAILED}
    assert {"source.digest", "round_trip", "logits.mean"} <= failed


def test_a_folder_without_a_record_is_judged_by_what_it_holds(made: Path) -> None:
    (made / "conversion.json").unlink()
    report = verify(made, made.parent / "source.gguf")
    skipped = {result.name for result in report.results if result.status == Status.SKIPPED}
    assert skipped == {"files.listed", "files.digests", "source.digest"}
    assert report.outcome == "PASSED"  # it makes no such claim, and all else was compared


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"files": 3, "sources": [{"path": 7}]}'])
def test_a_broken_record_fails_the_verification_and_does_not_end_it(made: Path, record: str) -> None:
    (made / "conversion.json").write_text(record)
    assert verify(made).outcome == "FAILED"


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "none")


def test_a_file_is_no_folder(made: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        verify(made / "config.json")


def test_a_source_that_is_no_gguf_file_is_an_error(made: Path) -> None:
    with pytest.raises(InputError, match="is no GGUF file"):
        verify(made, made / "config.json")


def test_an_unknown_level_is_refused(made: Path) -> None:
    with pytest.raises(ValueError, match="thorough"):
        verify(made, level="thorough")


def test_a_folder_of_nothing_fails_or_errs_on_every_check_that_it_does_not_skip(tmp_path: Path) -> None:
    report = verify(tmp_path)
    assert report.outcome == "FAILED"
    assert not [result.name for result in report.results if result.status == Status.PASSED]


def test_the_report_names_the_tools_that_measured(made: Path) -> None:
    report = verify(made)
    assert set(report.tools) >= {"llorch", "python", "numpy", "torch", "tokenizers"}
    json.dumps(report.to_json(), allow_nan=False)


def test_importing_the_judge_loads_neither_torch_nor_numba() -> None:
    script = "import sys, verification; print({'torch', 'numba', 'numpy'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout == "set()\n"


def test_a_shard_that_is_missing_is_told_by_one_check_and_the_others_say_which(tmp_path: Path) -> None:
    source = random_llama().write(tmp_path / "source.gguf")
    converter.convert(source, tmp_path / "made", converter.ConvertOptions(max_shard_size=100_000))
    for gone in ("model-00002-of-00005.safetensors", "model-00004-of-00005.safetensors"):
        (tmp_path / "made" / gone).unlink()
    assert told(verify(tmp_path / "made"), "model-00002") == ["files.listed"]
    (tmp_path / "made" / "conversion.json").unlink()
    report = verify(tmp_path / "made", source)
    assert told(report, "model-00002") == ["safetensors.structure"]
    structure = next(result for result in report.results if result.name == "safetensors.structure")
    assert "'model-00002-of-00005.safetensors' and 1 more, which are not there" in structure.where
    for result in report.results:
        if result.status == Status.SKIPPED and not result.optional:
            assert result.detail == "safetensors.structure says why"


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_any_other_file_that_is_missing_is_told_by_one_check_too(made: Path, file: str) -> None:
    (made / file).unlink()
    assert told(verify(made), f"'{file}'") == ["files.listed"]


@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"])
def test_a_tensor_of_another_shape_is_told_by_one_check(made: Path, name: str) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    tensors = numpy.load_file(made / "model.safetensors")
    tensors[name] = tensors[name][:-1].copy()
    numpy.save_file(tensors, made / "model.safetensors", metadata={"format": "pt"})
    report = verify(made)
    assert told(report, name) == ["tensors.planned"]
    assert {result.name for result in report.results if result.status == Status.FAILED} == {
        "files.digests",
        "tensors.planned",
    }
    assert not [result for result in report.results if result.status == Status.ERROR]


def told(report: Report, words: str) -> list[str]:
    """Return the checks whose row holds these words."""
    return [result.name for result in report.results if words in f"{result.where} {result.detail}"]


def test_texts_that_are_cut_otherwise_are_shown_from_where_they_part(made: Path) -> None:
    path = made / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["merges"] = document["model"]["merges"][1:]
    path.write_text(json.dumps(document))
    [found] = [result for result in verify(made).results if result.name == "tokenizer.ids"]
    assert found.status == Status.FAILED
    assert "from character 30 ('he'd SHE'S i')" in found.where, "where the first `he` is"
    assert "256 'he'" in found.where
    assert "104 'h', 101 'e'" in found.where
