"""An observer sees the values of both readings in one order of channels, and may replace them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from llorch.runtime.loading import load
from tests.runtime.conftest import TINY

IDS = list(range(30, 62))
Seen = dict[tuple[int | None, str], Tensor]


def watched(path: Path) -> Seen:
    seen: Seen = {}

    def look(layer: int | None, step: str, value: Tensor) -> None:
        seen[layer, step] = value.clone()

    with load(path) as model:
        model.logits(IDS, observe=look)
    return seen


@pytest.mark.parametrize("name", TINY)
def test_every_step_of_both_readings_is_comparable(test_data: Path, originals: Path, name: str) -> None:
    ggml, transformers = watched(test_data / "tiny" / name / "f32.gguf"), watched(originals / name)
    assert ggml.keys() == transformers.keys()
    for place, value in ggml.items():
        error = (value - transformers[place]).square().mean().sqrt() / transformers[
            place
        ].square().mean().sqrt()
        assert error < 1e-5, place


def test_the_steps_are_these(test_data: Path) -> None:
    steps = list(watched(test_data / "tiny" / "qwen3" / "f32.gguf"))
    within = [
        "input",
        "attention_norm",
        "v",
        "q",
        "k",
        "attention",
        "attention_output",
        "ffn_norm",
        "ffn_output",
        "output",
    ]
    expected = [(None, "embedding")]
    expected += [(layer, step) for layer in range(3) for step in within]  # type: ignore[misc]
    assert steps == [*expected, (None, "final_norm"), (None, "logits")]


def test_observing_changes_nothing_and_a_replacement_is_computed_on(test_data: Path) -> None:
    with load(test_data / "tiny" / "llama" / "f32.gguf") as model:
        plain = model.logits(IDS)
        assert torch.equal(model.logits(IDS, observe=lambda *_: None), plain)
        held: dict[str, Tensor] = {}

        def keep(layer: int | None, step: str, value: Tensor) -> None:
            if (layer, step) == (2, "input"):
                held["input"] = value.clone()

        model.logits(IDS, observe=keep)

        def put_back(layer: int | None, step: str, value: Tensor) -> Tensor | None:
            if (layer, step) == (0, "output"):
                return torch.zeros_like(value)  # would change all later values
            return held["input"] if (layer, step) == (2, "input") else None

        assert torch.equal(model.logits(IDS, observe=put_back), plain)
