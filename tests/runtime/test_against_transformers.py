"""Every other architecture, made small and random by transformers: both readings against its own logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from runtime.compare import compare_logits
from runtime.loading import load
from tests.models.from_transformers import RECIPES, build

POSITIONS = 220

# llama.cpp rotates by a base of 10000 where a gemma3 file has no rope.freq_base, and the original has another.
WITHOUT_BASE = {"gemma3-pattern"}


@pytest.mark.parametrize("name", RECIPES)
def test_both_readings_compute_what_transformers_computes(name: str, tmp_path: Path) -> None:
    made = build(name, tmp_path)
    made.model.set_attn_implementation("eager")
    positions = min(POSITIONS, made.model.config.max_position_embeddings)
    ids = torch.randint(0, 258, (1, positions), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        reference = made.model(ids).logits[0]
    paths = [made.folder] if name in WITHOUT_BASE else [made.folder, made.gguf]
    for path in paths:
        with load(path) as model:
            apart = compare_logits(reference, model.logits(ids[0].tolist()))
        # transformers' angles are float32: 2e-9 on average is what that costs, see docs/runtime.md
        assert apart.kl_mean < 2e-9
        assert apart.kl_max < 2e-8
        assert not apart.flips
