"""config.json has the fields that other readers require, with the types that they read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from llorch.converter.architectures import architectures
from llorch.converter.plan.published import PUBLISHED, fill_in, period_of_full_layers
from tests.conftest import REPOSITORY
from tests.converter.executed import plan_of
from tests.converter.plan.required_fields import REQUIRED
from tests.models import families
from tests.models.families import FAMILY_RECIPES
from tests.models.from_transformers import RECIPES, build

FULL, SLIDING = "full_attention", "sliding_attention"
DATA = Path(os.environ.get("LLORCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
CONVERTED = {architecture.model_type for architecture in architectures()}
MADE = sorted(  # by llama.cpp, of families that are converted
    folder.relative_to(DATA).as_posix()
    for folder in (*DATA.glob("tiny/*"), *DATA.glob("families/*"))
    if (folder / "config.json").is_file()
    and json.loads((folder / "config.json").read_text())["model_type"] in CONVERTED
)


def fits(value: object, kind: str) -> bool:
    """Return whether serde would accept a JSON value for a Rust type; without a type (Python) any value fits."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match kind:
        case "":
            return True
        case "usize" | "u32":
            return number and isinstance(value, int) and value >= 0
        case "f32" | "f64":
            return number
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case "object":
            return isinstance(value, dict)
        case "list":
            return isinstance(value, list)
    raise AssertionError(f"no rule for the type {kind}")


def lacking(config: Mapping[str, object]) -> dict[str, list[str]]:
    """Reader → fields that it would not find, or not accept."""
    found = {}
    for reader, known in REQUIRED.items():
        fields = (field.partition(":") for field in known.get(str(config["model_type"]), "").split())
        wrong = [name for name, _, kind in fields if name not in config or not fits(config[name], kind)]
        if wrong:
            found[reader] = wrong
    return found


@pytest.mark.parametrize("name", MADE)
def test_a_generated_models_config_has_all_that_readers_require(name: str, test_data: Path) -> None:
    assert lacking(plan_of(test_data / name / "f32.gguf").config) == {}


@pytest.mark.parametrize("name", RECIPES)
def test_a_config_of_our_own_models_has_all_that_readers_require(name: str, tmp_path: Path) -> None:
    assert lacking(plan_of(build(name, tmp_path).gguf).config) == {}


@pytest.mark.parametrize("name", FAMILY_RECIPES)
def test_a_config_of_our_own_families_has_all_that_readers_require(name: str, tmp_path: Path) -> None:
    assert lacking(plan_of(families.build(name, tmp_path).gguf).config) == {}


def test_a_missing_key_and_a_null_are_both_detected() -> None:
    whole = dict.fromkeys([field.partition(":")[0] for field in REQUIRED["candle"]["qwen3"].split()], 1)
    config = {**whole, "model_type": "qwen3", "hidden_act": "silu", "use_sliding_window": None}
    config |= {"attention_bias": False, "tie_word_embeddings": True}
    del config["max_window_layers"]
    assert lacking(config)["candle"] == ["max_window_layers", "use_sliding_window"]


@pytest.mark.parametrize(
    ("types", "period"),
    [
        ([SLIDING] * 5 + [FULL] + [SLIDING], 6),
        ([SLIDING, FULL] * 2, 2),
        ([FULL] * 3, 1),
        ([SLIDING] * 4, 6),
        ([SLIDING] * 7, 8),
        ([SLIDING, SLIDING, FULL] + [SLIDING] * 4, None),
        ([FULL, SLIDING, FULL], None),
    ],
)
def test_the_period_of_full_layers_is_a_number_if_the_layers_have_one(
    types: list[str], period: int | None
) -> None:
    assert period_of_full_layers({"layer_types": types}) == period
    if period is not None:
        assert [SLIDING if (i + 1) % period else FULL for i in range(len(types))] == types


def test_values_of_the_file_are_kept() -> None:
    values = {"num_hidden_layers": 4, "max_position_embeddings": 64, "sliding_window": 32}
    assert "sliding_window" not in fill_in("mixtral", values)
    assert fill_in("mixtral", {**values, "sliding_window": None})["sliding_window"] == 64
    assert fill_in("no such family", values) == {}


def test_the_last_mixture_of_ernie_is_the_last_layer_as_published() -> None:
    assert fill_in("ernie4_5_moe", {"num_hidden_layers": 28}) == {"moe_layer_end_index": 27}


def test_mamba_pads_no_vocabulary_beyond_its_rows() -> None:
    values: dict[str, object] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
    assert fill_in("mamba", {**values, "vocab_size": 272})["pad_vocab_size_multiple"] == 8
    assert fill_in("mamba", {**values, "vocab_size": 270})["pad_vocab_size_multiple"] == 1


def test_the_rotation_of_glm_4_is_written_as_chatglm_writes_it() -> None:
    values: dict[str, object] = {"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 5e6}
    assert fill_in("glm", values) == {"layernorm_epsilon": 1e-5, "rope_ratio": 500.0, "seq_length": 64}


def test_gemma4_says_its_global_heads_where_keys_are_values_and_null_elsewhere() -> None:
    values: dict[str, object] = {"head_dim": 256, "num_key_value_heads": 8, "attention_k_eq_v": True}
    values |= {"per_layer_config": {"5": {"head_dim": 512, "num_key_value_heads": 2}}}
    published = {"global_head_dim": 512, "num_global_key_value_heads": 2}
    assert fill_in("gemma4_text", values) == published
    without = {**values, "attention_k_eq_v": False}
    assert fill_in("gemma4_text", without) == {**published, "num_global_key_value_heads": None}


def test_every_row_is_of_a_family_that_is_converted() -> None:
    assert PUBLISHED.keys() <= CONVERTED
