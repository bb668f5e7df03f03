"""All other architectures, as small random models saved by transformers: both readings against its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from llorch.runtime.loading import load
from llorch.runtime.measure.compare import compare_logits
from tests.models.from_transformers import RECIPES, build

POSITIONS = 220

EACH = pytest.mark.parametrize("name", RECIPES)


@EACH
def test_both_readings_compute_what_transformers_computes(name: str, tmp_path: Path) -> None:
    made = build(name, tmp_path)
    made.model.set_attn_implementation("eager")
    assert original_context(made.model.config) < POSITIONS <= made.model.config.max_position_embeddings
    ids = torch.randint(0, 258, (1, POSITIONS), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        reference = made.model(ids).logits[0]
    for path in (made.folder, made.gguf):
        with load(path) as model:
            apart = compare_logits(reference, model.logits(ids[0].tolist()))
        # transformers computes angles in float32, which costs 2e-9 on average, see docs/runtime.md
        assert apart.kl_mean < 2e-9
        assert apart.kl_max < 2e-8
        assert not apart.flips


def original_context(config: Any) -> int:
    """The context before RoPE scaling, if frequencies change there by more than one list or a formula; else 0."""
    parts = config.rope_parameters
    parts = parts.values() if "full_attention" in parts else [parts]
    scaled = [part for part in parts if part["rope_type"] in ("yarn", "llama3", "longrope")]
    return max((part["original_max_position_embeddings"] for part in scaled if differs(part)), default=0)


def differs(part: dict[str, Any]) -> bool:
    """Whether logits change at the original context: not if short and long sequences share one list."""
    return part.get("short_factor") != part.get("long_factor") or part["rope_type"] != "longrope"


@EACH
@pytest.mark.parametrize(("dtype", "mean", "worst"), [("float32", 1e-9, 1e-8), ("float64", 1e-13, 1e-12)])
def test_any_chunks_give_the_same_logits(
    name: str, dtype: Literal["float32", "float64"], mean: float, worst: float, tmp_path: Path
) -> None:
    """In float64 too: these random models amplify rounding, and there no other difference is left."""
    path = build(name, tmp_path).gguf
    ids = torch.randint(0, 258, (POSITIONS,), generator=torch.Generator().manual_seed(8))
    with load(path, dtype=dtype) as model, torch.inference_mode():
        whole = model.logits(ids.tolist())
        cuts = [model.logits(ids.tolist(), chunk=chunk) for chunk in (1, 7, 64)]
        together, apart = model.new_cache(POSITIONS), model.new_cache(POSITIONS)
        for cache in (together, apart):
            model.decoder.hidden(ids[:200], cache)
        two = model.decoder.logits(model.decoder.hidden(ids[200:202], together))
        one = [model.decoder.logits(model.decoder.hidden(ids[i : i + 1], apart)) for i in (200, 201)]
    steps = [(whole[200:202], logits.float()) for logits in (two, torch.cat(one))]
    for expected, tested in [*((whole, cut) for cut in cuts), *steps]:
        apart_by = compare_logits(expected, tested)
        assert apart_by.kl_mean < mean
        assert apart_by.kl_max < worst
