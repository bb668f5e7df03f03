"""Families without a transformers class or a fixture to compare with: llama.cpp computes the same logits.

It caches keys and values in half precision, which explains the remaining difference; a wrong trait has a larger effect.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.llama_cpp_logits import log_probabilities, make_prompts
from llorch.formats.gguf import read_header
from llorch.runtime import load
from tests.models.families import FAMILY_RECIPES, build
from tests.models.family_recipe import FamilyRecipe

# llama.cpp recognises Baichuan's sizes by their layers: RoPE with 32, ALiBi with 40, neither with any other number.
NAMES = (
    "olmo", "orion", "codeshell", "pangu-embedded", "maincoder", "qwen", "bailingmoe2", "afmoe", "exaone-moe", "jais2",
    "dbrx", "minicpm3", "paddleocr", "hy_v3", "granite_swa",
    "granite_swa-moe", "cohere2moe", "cohere2moe-rms",
    "laguna", "laguna-gates", "mimo2", "bitnet",
)  # fmt: skip
HUNYUAN_VL = FAMILY_RECIPES["hunyuan_vl"]  # of whose four sections llama.cpp does not turn a text's last
RECIPES = {
    **{name: FAMILY_RECIPES[name] for name in NAMES},
    "hunyuan_vl": replace(HUNYUAN_VL, keys={**HUNYUAN_VL.keys, "rope.dimension_sections": [3, 2, 1, 0]}),
    **{f"baichuan-{n}": replace(FAMILY_RECIPES["baichuan"], config={
        **FAMILY_RECIPES["baichuan"].config, "num_hidden_layers": n}) for n in (32, 40)},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "recipe"), RECIPES.items(), ids=list(RECIPES))
def test_llama_cpp_computes_the_same_logits_from_the_file(
    name: str, recipe: FamilyRecipe, tmp_path: Path
) -> None:
    file = build(name, tmp_path, recipe).gguf
    prompts, tokens, text_id = make_prompts(read_header(file))
    expected = log_probabilities(file, prompts, tokens, text_id)
    with load(file) as model:
        found = [torch.log_softmax(model.logits(prompt)[-1], -1).numpy() for prompt in prompts]
    assert np.abs(np.stack(found) - expected).max() < (
        0.05 if recipe.config.get("num_hidden_layers", 3) < 9 else 0.5
    )
