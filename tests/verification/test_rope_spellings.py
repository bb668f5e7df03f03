"""RoPE in each spelling of config.json: no false alarm for what transformers writes, and no wrong one passes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers

from llorch.converter import convert
from llorch.runtime import Config, traits_of_config
from llorch.runtime.from_folder.families import FAMILIES
from llorch.verification import verify
from llorch.verification.checks.meaning import rope_differences, spellings
from tests.models.families import FAMILY_RECIPES, build

# What a class's own defaults lack to be a model.
NEEDED: Mapping[str, Mapping[str, Any]] = {
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "glm4_moe": {"head_dim": 64},
    "lfm2_moe": {"layer_types": ["full_attention"] * 32},
}


def differences(config: Config) -> dict[str, float]:
    """Return the difference of RoPE in each spelling from RoPE by the whole file."""
    whole = traits_of_config(config)
    return {
        spelling: max((apart for apart, _ in rope_differences(whole, traits_of_config(alone))), default=0.0)
        for spelling, alone in spellings(config)
    }


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_transformers_writes_says_one_thing(kind: str, tmp_path: Path) -> None:
    """Return a base and a scaling in the older spelling, as in published folders."""
    scaling = {"rope_type": "linear", "factor": 4.0} if kind in ("llama", "gemma3_text", "olmo3") else None
    older = {"rope_theta": 123456.0, **({"rope_scaling": scaling} if scaling else {})}
    config = transformers.CONFIG_MAPPING[kind].from_dict({**NEEDED.get(kind, {}), **older})
    config.architectures = [FAMILIES[kind].class_name]
    config.save_pretrained(tmp_path)
    found = differences(Config.of_folder(tmp_path))
    assert max(found.values(), default=0.0) <= 1e-6
    if scaling:
        assert found


def olmo3(**changes: Any) -> Config:
    """Return both spellings as a conversion writes them."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    base = {"rope_theta": 1234.0}
    config: dict[str, Any] = {
        "model_type": "olmo3", "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4,
        "num_key_value_heads": 4, "intermediate_size": 92, "vocab_size": 272, **base, "rope_scaling": yarn,
        "rope_parameters": {
            "full_attention": {**base, **yarn}, "sliding_attention": {**base, "rope_type": "default"},
        },
    }  # fmt: skip
    return Config.of_values({**config, **changes}, Path("config.json"))


def test_one_base_of_both_kinds_of_layers_is_read_as_transformers_4_does() -> None:
    assert differences(olmo3()) == {"rope_parameters": 0.0, "rope_theta and rope_scaling": 0.0}
    assert differences(olmo3(rope_theta=5e5))["rope_theta and rope_scaling"] > 0.1


def test_two_bases_are_said_in_the_one_spelling_that_can(tmp_path: Path) -> None:
    recipe = FAMILY_RECIPES["olmo3"]
    parameters = recipe.config["rope_parameters"]
    sliding = {**parameters["sliding_attention"], "rope_theta": 777.0}
    config = {**recipe.config, "rope_parameters": {**parameters, "sliding_attention": sliding}}
    keys = {**recipe.keys, "rope.freq_base_swa": 777.0}
    made = build("olmo3", tmp_path, replace(recipe, config=config, keys=keys))
    convert(made.gguf, tmp_path / "folder")
    written = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert written["rope_parameters"]["sliding_attention"]["rope_theta"] == 777.0
    assert not {"rope_theta", "rope_scaling"} & written.keys()
    report = verify(tmp_path / "folder", made.gguf)
    assert report.outcome == "PASSED", report.to_json()
