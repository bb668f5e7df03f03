"""`--reference-config`: differences from an original's config.json in effect, and only in spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llorch.base.errors import InputError
from llorch.converter import convert
from llorch.verification import ConfigComparison, compare_configs, read_reference_config
from tests.families import FAMILIES


@pytest.fixture(scope="module")
def folder(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reference") / "out"
    return convert(test_data / "families" / "gptoss" / "f32.gguf", place, dtype="float32").folder


def against(folder: Path, place: Path, **changes: Any) -> ConfigComparison:
    """Return the comparison with a copy of the folder's config.json, some keys changed; `...` removes one."""
    document = json.loads((folder / "config.json").read_text()) | changes
    place.mkdir(exist_ok=True)
    kept = {key: value for key, value in document.items() if value is not ...}
    (place / "config.json").write_text(json.dumps(kept))
    return compare_configs(folder, read_reference_config(place))


# Of these the original's config.json says what the GGUF does not, or the folder is written for another class.
OTHERWISE = {
    "granitehybrid": {"n_ctx"},
    "nemotronhmoe": {"n_ctx"},
    "mamba": {"n_ctx"},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_familys_folder_says_what_the_original_says(name: str, test_data: Path, tmp_path: Path) -> None:
    source = test_data / "families" / name
    made = convert(source / "f32.gguf", tmp_path / "out", dtype="float32").folder
    found = compare_configs(made, read_reference_config(source))
    assert {effect.what for effect in found.effects} <= OTHERWISE.get(name, set()), found.effects


def test_other_spellings_have_no_effect(folder: Path, tmp_path: Path) -> None:
    found = against(
        folder, tmp_path, rope_scaling=..., initializer_range=0.5, swiglu_limit=..., transformers_version="9"
    )
    assert found.effects == ()
    assert found.spelled == ("initializer_range", "rope_scaling", "swiglu_limit")
    assert found.sentence.startswith("the same in effect as the original; spelled otherwise")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"rms_norm_eps": 1e-6}, "norm_eps is 1e-05, the original's is 1e-06"),
        ({"sliding_window": 23}, "windows of layer 0 is 24, the original's is 23"),
        ({"layer_types": ["full_attention"] * 3}, "windows of layer 0 is 24, the original's is None"),
        ({"eos_token_id": [364, 361]}, "eos_token_id is"),
        ({"dtype": "bfloat16"}, "dtype is float32, the original's is bfloat16"),
        ({"num_experts_per_tok": 3}, "routing is"),
        ({"max_position_embeddings": 512}, "n_ctx is 256, the original's is 512"),
    ],
)
def test_an_effect_is_named_with_both_values(
    changes: dict[str, Any], what: str, folder: Path, tmp_path: Path
) -> None:
    found = against(folder, tmp_path, **changes)
    assert str(found.effects[0]).startswith(what)
    assert not set(found.spelled) & changes.keys()
    assert found.to_json()["effects"]


def test_a_rotary_frequency_is_an_effect_however_it_is_spelled(folder: Path, tmp_path: Path) -> None:
    rope = json.loads((folder / "config.json").read_text())["rope_parameters"]
    found = against(folder, tmp_path, rope_parameters={**rope, "factor": 16.0}, rope_scaling=...)
    assert [effect.what for effect in found.effects] == ["the rotary embedding of layer 0"]


def test_the_text_part_of_a_model_that_sees_is_meant(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "families" / "mistral3"
    made = convert(source / "f32.gguf", tmp_path / "out", dtype="float32").folder
    text = json.loads((source / "config.json").read_text())
    whole = {
        "model_type": "mistral3",
        "architectures": ["Mistral3ForConditionalGeneration"],
        "text_config": text,
    }
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    assert compare_configs(made, read_reference_config(tmp_path / "whole.json")).effects == ()


def test_another_familys_or_broken_original_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    for content in ("{}", "[1]", "{", json.dumps({"model_type": "unheard_of"})):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError):
            read_reference_config(tmp_path)
