"""Keys about experts without expert tensors: a model with only dense layers is run, any other is rejected by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llorch.base.errors import InputError
from llorch.formats.gguf import TensorData, read_header
from llorch.runtime.from_gguf import read_traits
from tests.models.families import FAMILY_RECIPES, build
from tests.runtime.test_family_recipes import require_logits

DENSE_FIRST = ("first_k_dense_replace", "num_dense_layers")  # keys of the config classes


@pytest.mark.parametrize("name", ["glm4moe", "deepseek3", "lfm2moe", "exaone-moe", "afmoe"])
def test_a_model_whose_every_layer_is_dense_is_the_original(name: str, tmp_path: Path) -> None:
    recipe = FAMILY_RECIPES[name]
    layers = recipe.config.get("num_hidden_layers", 3)
    config = {**recipe.config, **{key: layers for key in DENSE_FIRST if key in recipe.config}}
    if "mlp_layer_types" in config:
        config["mlp_layer_types"] = ["dense"] * layers
    made = build(
        name,
        tmp_path,
        replace(recipe, config=config, keys={**recipe.keys, "leading_dense_block_count": layers}),
    )
    header = read_header(made.gguf)
    assert header.metadata.integer(f"{recipe.gguf}.expert_count") > 1
    assert not [tensor for tensor in header.tensors if "_exps" in tensor]
    ids = torch.arange(40) * 7 % 258
    with torch.no_grad():
        logits = made.model(ids[None], use_cache=False).logits[0].numpy()
    for path in (made.gguf, tmp_path / "original"):
        require_logits(path, ids.tolist(), logits)


@pytest.mark.parametrize(
    "name", [name for name, recipe in FAMILY_RECIPES.items() if "expert_count" in recipe.keys]
)
def test_a_mixture_without_its_experts_is_refused(name: str, tmp_path: Path) -> None:
    made = build(name, tmp_path)
    whole = read_header(made.gguf)
    tensors = {name: tensor for name, tensor in whole.tensors.items() if "_exps" not in name}
    assert len(tensors) < len(whole.tensors)
    with TensorData(whole) as data, pytest.raises(InputError, match="lacks") as refused:
        read_traits(replace(whole, tensors=tensors), data)
    assert "_exps" in str(refused.value)
    assert "\n" not in str(refused.value)
