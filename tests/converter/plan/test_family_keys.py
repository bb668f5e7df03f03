"""Impossible values of families' own keys: the converter and the GGUF reading each refuse them, naming the key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.converter import convert
from llorch.runtime import load
from tests.models.families import FAMILY_RECIPES, build
from tests.models.vocabularies import Value

WRONG: list[tuple[str, str, Value]] = [
    ("granite_swa", "attention.rope_pattern", [True, False]),
    ("granite_swa", "attention.sliding_window_pattern", [True, False]),
    ("hunyuan_vl", "rope.scaling.alpha", -2.0),
    ("laguna", "attention.head_count", [6, 9, 0, 9, 6]),
    ("laguna", "attention.head_count_kv", [3, 3, 3, 4, 3]),
    ("laguna", "rope.dimension_count_swa", 11),
    ("mimo2", "attention.head_count_kv", [3, 6, 6, 3, 0, 6, 6, 6]),
    ("mimo2", "attention.sliding_window_pattern", [0, 1, 1]),
]
NOT_OF_THE_CLASS: list[tuple[str, str, Value]] = [
    ("cohere2moe", "expert_gating_func", 3),
    ("cohere2moe", "expert_weights_scale", 2.0),
    ("hy_v3", "expert_gating_func", 1),
    ("hy_v3", "expert_weights_norm", False),
    ("laguna", "expert_gating_func", 1),
    ("laguna", "expert_shared_count", 2),
    ("laguna", "expert_weights_norm", False),
    ("mimo2", "attention.head_count_kv", [3, 3, 3, 3, 3, 3, 3, 3]),
    ("mimo2", "expert_gating_func", 1),
]


@pytest.mark.parametrize(("name", "key", "value"), WRONG)
def test_impossible_values_are_named_by_both(name: str, key: str, value: Value, tmp_path: Path) -> None:
    file = with_key(name, key, value, tmp_path)
    with pytest.raises(MalformedInput, match=key):
        convert(file, tmp_path / "folder")
    with pytest.raises(MalformedInput, match=key):
        load(file)


@pytest.mark.parametrize(("name", "key", "value"), NOT_OF_THE_CLASS)
def test_values_that_the_class_does_not_support_are_named(
    name: str, key: str, value: Value, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedInput, match=key):
        convert(with_key(name, key, value, tmp_path), tmp_path / "folder")


def with_key(name: str, key: str, value: Value, folder: Path) -> Path:
    """Return a recipe's file with another value of one key."""
    recipe = FAMILY_RECIPES[name]
    return build(name, folder, replace(recipe, keys={**recipe.keys, key: value})).gguf
