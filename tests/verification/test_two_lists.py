"""RoPE with a list for long sequences: sequences beside the lockstep's text use the text's own list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llorch.converter import convert
from llorch.runtime.blocks import rope
from llorch.verification import verify
from llorch.verification.checks.loading import POSITIONS
from llorch.verification.lockstep import CHUNKED, NOISE_POSITIONS
from llorch.verification.subject import Subject
from tests.models.families import FAMILY_RECIPES, build
from tests.verification.planting import DEVICE, Planted

# Contexts before scaling, between each two lengths that are compared; not below the text that transformers is given,
# whose class turns by the short list whatever the length.
ORIGINALS = (POSITIONS, CHUNKED + 32)

Make = Callable[[int], Planted]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """A function that converts a tiny Phi-3.5-MoE with a given context before scaling; it has 256 positions."""

    def of(original: int) -> Planted:
        recipe = FAMILY_RECIPES["phimoe"]
        parameters = {**recipe.config["rope_parameters"], "original_max_position_embeddings": original}
        keys = {**recipe.keys, "rope.scaling.original_context_length": original}
        model = build("phimoe", tmp_path, replace(recipe, config={**recipe.config, "rope_parameters": parameters},
                                                  keys=keys))  # fmt: skip
        convert(model.gguf, tmp_path / "made")
        return Planted(model.gguf, tmp_path / "made")

    return of


@pytest.mark.parametrize("original", ORIGINALS)
def test_a_length_at_which_the_list_changes_is_no_fault(made: Make, original: int) -> None:
    pair = made(original)
    for level in ("quick", "full"):
        report = verify(pair.folder, pair.source, level=level, device=DEVICE)
        assert report.outcome == "PASSED", (level, report.sentence)


def test_the_other_list_is_no_noise(made: Make) -> None:
    pair = made(NOISE_POSITIONS + 8)
    with Subject(pair.folder, pair.source, level="full", device=DEVICE) as subject:
        noise = subject.lockstep.noise
    assert noise is not None
    assert noise.kl_max < 1e-9


def test_positions_that_begin_again_are_a_fault_all_the_same(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, right = made(CHUNKED + 32), rope.rotation

    def from_zero(what: Any, positions: range, *rest: Any) -> Any:
        return right(what, range(len(positions)), *rest)

    monkeypatch.setattr("llorch.runtime.decoder.rotation", from_zero)
    report = verify(pair.folder, pair.source)
    failed = [one.name for one in report.results if one.status == "FAILED"]
    assert "logits.chunked" in failed
