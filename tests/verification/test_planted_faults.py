"""Every check, and a fault that it catches: one change in a correct conversion, or in the verification."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llorch import converter
from llorch.formats.safetensors import read_safetensors
from llorch.runtime.blocks import rope
from llorch.verification import verify
from llorch.verification.checks import CHECKS
from llorch.verification.report import Report, Status
from tests.models.gguf_writer import STRING, Model, one
from tests.models.tiny import llama3_scaled
from tests.verification.mutations import MUTATIONS
from tests.verification.planting import DEVICE

BASE, HEAD_DIM = 100.0, 16  # of `llama3_scaled`


def source() -> Model:
    """A random llama with llama3 rope scaling and an output layer of its own."""
    return llama3_scaled().key("tokenizer.chat_template.tool_use", one(STRING, "{{ tools }}"))


@dataclass(frozen=True)
class Pair:
    """A source, and the folder made from it."""

    source: Path
    folder: Path

    def edit(self, name: str, **changes: Any) -> None:
        """Change keys of a JSON file of the folder; None removes one."""
        path = self.folder / name
        document = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
        self.own_up(name)

    def own_up(self, name: str) -> None:
        """Record a changed file in conversion.json, so that no digest reveals the change."""
        content = (self.folder / name).read_bytes()
        path = self.folder / "conversion.json"
        record = json.loads(path.read_text())
        for row in record["files"]:
            if row["path"] == name:
                row |= {"sha256": sha256(content).hexdigest(), "size": len(content)}
        path.write_text(json.dumps(record))

    def weights(self, name: str) -> tuple[np.memmap[Any, Any], tuple[int, ...]]:
        """Return a tensor's float32 weights, writable in place, and its shape."""
        stored = read_safetensors(self.folder)
        tensor = stored.tensors[name]
        path, count = stored.parts[tensor.part].path, tensor.nbytes // 4
        return np.memmap(path, "<f4", "r+", tensor.offset, (count,)), tensor.shape


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A float32 conversion."""
    folder = tmp_path_factory.mktemp("right")
    (folder / "source.gguf").write_bytes(source().build())
    converter.convert(folder / "source.gguf", folder / "made", dtype="float32")
    return Pair(folder / "source.gguf", folder / "made")


@pytest.fixture
def pair(right: Pair, tmp_path: Path) -> Pair:
    """A copy of the conversion to plant a fault in."""
    shutil.copytree(right.folder, tmp_path / "made")
    shutil.copy(right.source, tmp_path / "source.gguf")
    return Pair(tmp_path / "source.gguf", tmp_path / "made")


def judged(pair: Pair, level: str = "full") -> Report:
    return verify(pair.folder, pair.source, level=level, device=DEVICE)


def status(report: Report, name: str) -> Status:
    return next(result.status for result in report.results if result.name == name)


def test_a_right_conversion_passes_every_check(right: Pair) -> None:
    report = judged(right)
    assert {result.name: result.status for result in report.results} == dict.fromkeys(CHECKS, Status.PASSED)
    assert report.outcome == "PASSED"


Plant = Callable[[Pair, pytest.MonkeyPatch], None]
FAULTS: dict[str, tuple[str, Plant]] = {}


def fault(caught_by: str) -> Callable[[Plant], Plant]:
    """Register a fault, named by its function, with the check that must fail."""

    def enter(plant: Plant) -> Plant:
        FAULTS[plant.__name__] = (caught_by, plant)
        return plant

    return enter


@fault("files.listed")
def a_file_is_gone(pair: Pair, _: pytest.MonkeyPatch) -> None:
    (pair.folder / "special_tokens_map.json").unlink()


@fault("files.listed")
def a_file_that_loaders_take_was_added(pair: Pair, _: pytest.MonkeyPatch) -> None:
    (pair.folder / "adapter_model.safetensors").write_bytes(b"")


@fault("files.digests")
def a_config_was_reformatted(pair: Pair, _: pytest.MonkeyPatch) -> None:
    path = pair.folder / "config.json"
    path.write_text(path.read_text() + " ")


@fault("source.digest")
def the_source_is_another_of_the_same_weights(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.source.write_bytes(source().key("general.name", one(STRING, "other")).build())


@fault("safetensors.structure")
def the_shard_is_cut_short(pair: Pair, _: pytest.MonkeyPatch) -> None:
    path = pair.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    pair.own_up("model.safetensors")


@fault("tensors.planned")
def a_tensor_has_another_name(pair: Pair, _: pytest.MonkeyPatch) -> None:
    path = pair.folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b"layers.1.mlp.up_proj", b"layers.1.mlp.xp_proj"))
    pair.own_up("model.safetensors")


@fault("round_trip")
def one_bit_of_one_weight_is_flipped(pair: Pair, _: pytest.MonkeyPatch) -> None:
    weights, _shape = pair.weights("model.layers.0.mlp.down_proj.weight")
    weights.view("<u4")[7] ^= 1
    weights.flush()
    pair.own_up("model.safetensors")


@fault("traits.structure")
def the_context_is_longer(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", max_position_embeddings=256)


@fault("traits.numbers")
def the_epsilon_is_a_tenth(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", rms_norm_eps=1e-6)


@fault("traits.rope")
def the_rope_factors_are_dropped(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", rope_parameters={"rope_type": "default", "rope_theta": BASE}, rope_scaling=None)


@fault("traits.rope")
def the_rope_base_is_one_in_ten_thousand_larger(pair: Pair, _: pytest.MonkeyPatch) -> None:
    told = json.loads((pair.folder / "config.json").read_text())["rope_parameters"]
    pair.edit("config.json", rope_theta=BASE + 1, rope_parameters=told | {"rope_theta": BASE + 1})


@fault("config.sizes")
def the_feed_forward_is_said_to_be_wider(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", intermediate_size=128)


@fault("config.sizes")
def a_layer_is_not_counted(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", num_hidden_layers=1)


@fault("config.tied")
def the_output_layer_is_said_to_be_tied(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", tie_word_embeddings=True)


@fault("logits.finite")
def the_config_asks_for_a_dtype_that_overflows(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", dtype="float16")
    weights, _shape = pair.weights("model.norm.weight")
    weights[...] = np.float32(65536)  # more than float16 holds
    weights.flush()


@fault("tokenizer.auto")
def the_tokenizers_class_builds_it_anew(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("tokenizer_config.json", tokenizer_class="GemmaTokenizer")


@fault("tokenizer.ids")
def a_merge_is_lost(pair: Pair, _: pytest.MonkeyPatch) -> None:
    model = json.loads((pair.folder / "tokenizer.json").read_text())["model"]
    pair.edit("tokenizer.json", model=model | {"merges": model["merges"][1:]})


@fault("tokenizer.vocabulary")
def two_tokens_have_changed_places(pair: Pair, _: pytest.MonkeyPatch) -> None:
    model = json.loads((pair.folder / "tokenizer.json").read_text())["model"]
    vocabulary = model["vocab"] | {"A": model["vocab"]["B"], "B": model["vocab"]["A"]}
    pair.edit("tokenizer.json", model=model | {"vocab": vocabulary})


@fault("tokenizer.end_ids")
def generation_ends_at_another_token(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("generation_config.json", eos_token_id=5)


@fault("config.special_ids")
def the_eos_id_of_the_config_is_another(pair: Pair, _: pytest.MonkeyPatch) -> None:
    pair.edit("config.json", eos_token_id=5)


@fault("template.text")
def a_blank_is_added_to_the_template(pair: Pair, _: pytest.MonkeyPatch) -> None:
    path = pair.folder / "chat_template.jinja"
    path.write_text(path.read_text() + " ")
    pair.own_up("chat_template.jinja")


@fault("template.text")
def a_template_with_a_name_is_another(pair: Pair, _: pytest.MonkeyPatch) -> None:
    (pair.folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ documents }}")
    pair.own_up("additional_chat_templates/tool_use.jinja")


def the_pairs_of_q_and_k_stay_as_they_were(pair: Pair, _: pytest.MonkeyPatch) -> None:
    """Undo the permutation of the rows of q and k."""
    for layer in range(2):
        for name in ("q_proj", "k_proj"):
            weights, shape = pair.weights(f"model.layers.{layer}.self_attn.{name}.weight")
            rows = weights.reshape(-1, 2, HEAD_DIM // 2, shape[1])
            rows[...] = rows.swapaxes(1, 2).reshape(rows.shape).copy()
            weights.flush()
    pair.own_up("model.safetensors")


for _check in (
    "lockstep", "logits.mean", "logits.worst", "logits.top", "logits.long", "logits.perplexity", "generate.greedy"
):  # fmt: skip
    FAULTS[f"the_pairs_of_q_and_k_stay_as_they_were, {_check}"] = (
        _check,
        the_pairs_of_q_and_k_stay_as_they_were,
    )


@fault("logits.chunked")
def positions_begin_again_with_every_chunk(_: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    right_rotation = rope.rotation

    def from_zero(what: Any, positions: range, *rest: Any) -> Any:
        return right_rotation(what, range(len(positions)), *rest)

    for module in ("blocks.cache", "decoder"):
        monkeypatch.setattr(f"llorch.runtime.{module}.rotation", from_zero)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_fails_its_check(name: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    caught_by, plant = FAULTS[name]
    plant(pair, monkeypatch)
    report = judged(pair)
    assert status(report, caught_by) == Status.FAILED, report.to_json()
    assert report.outcome == "FAILED"


def test_every_check_has_a_fault_that_it_catches() -> None:
    elsewhere = {name for one in MUTATIONS for name, _ in one.caught_by}
    assert {caught_by for caught_by, _ in FAULTS.values()} | elsewhere == set(CHECKS)


# Faults that one check alone is there for: if another caught them too, it would not be needed.
ALONE = {
    "a_file_that_loaders_take_was_added",
    "a_config_was_reformatted",
    "the_source_is_another_of_the_same_weights",
    "one_bit_of_one_weight_is_flipped",
    "the_eos_id_of_the_config_is_another",
    "a_blank_is_added_to_the_template",
    "a_template_with_a_name_is_another",
    "positions_begin_again_with_every_chunk",
}


@pytest.mark.parametrize("name", sorted(ALONE))
def test_some_faults_are_seen_by_one_check_alone(
    name: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught_by, plant = FAULTS[name]
    plant(pair, monkeypatch)
    failed = [r.name for r in judged(pair).results if r.status not in (Status.PASSED, Status.WARNED)]
    assert failed == [caught_by]
