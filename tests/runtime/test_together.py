"""A step of several requests together equals each one's own step: within rounding, and within the fast mode's bound."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llorch import runtime
from llorch.base.errors import UnsupportedInput

PROMPTS = [[5, 9, 20, 31], [3, 2, 2, 61, 18, 9, 10, 7, 5], [7]]
FAST_NATS = 1e-2  # what the mode promises against exact, see docs/runtime.md
FAMILIES = (
    "deepseek2",
    "exaone4",
    "gptoss",
    "granitehybrid",
    "lfm2",
    "nemotronhmoe",
    "qwen35",
    "qwen3next",
    "seedoss",
)
TINY = ("gemma2", "gemma3", "llama", "mixtral", "phi2", "phi3", "qwen2", "qwen2moe")


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize(
    "name", [*(f"tiny/{name}" for name in TINY), *(f"families/{name}" for name in FAMILIES)]
)
def test_requests_together_equal_requests_alone(test_data: Path, name: str, mode: str) -> None:
    require_alone(test_data, name, mode, PROMPTS)


@pytest.mark.parametrize("mode", runtime.Mode)
@pytest.mark.parametrize("count", [2, 5, 8, 17])
def test_any_number_of_requests_together_equal_requests_alone(test_data: Path, count: int, mode: str) -> None:
    """By rows or by panels, padded or not; and with more positions than gemma3's window."""
    prompts = [
        [(7 * place + client) % 250 for place in range(1 + 23 * (client % 5))] for client in range(count)
    ]
    require_alone(test_data, "tiny/gemma3", mode, prompts)


def test_steps_of_several_requests_are_computed_by_programs(
    test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("the decoder was asked")

    monkeypatch.setattr("llorch.runtime.decoder.Decoder.hidden_together", unexpected)
    require_alone(test_data, "tiny/llama", "fast", PROMPTS)


def require_alone(test_data: Path, name: str, mode: str, prompts: list[list[int]]) -> None:
    """Three steps of requests together equal those of each alone, whatever was computed before."""
    file = test_data / name / "q4_k_m.gguf"
    if not file.exists():
        pytest.skip(f"there is no {name} among the test data")
    try:
        model = runtime.load(file, mode=mode)
    except UnsupportedInput as error:
        pytest.skip(str(error))
    with model:
        together, alone = ([model.new_cache(len(ids) + 7) for ids in prompts] for _ in range(2))
        for ids, one, other in zip(prompts, together, alone, strict=True):
            model.step(ids, one)
            model.step(ids, other)
        for step in range(3):
            tokens = [11 + step + client for client in range(len(prompts))]
            found = model.step_together(tokens, together)
            expected = torch.stack([model.step([t], cache) for t, cache in zip(tokens, alone, strict=True)])
            log_found, log_expected = found.double().log_softmax(-1), expected.double().log_softmax(-1)
            nats = (log_expected.exp() * (log_expected - log_found)).sum(-1)
            assert nats.max() < (1e-8 if model.mode == "exact" else FAST_NATS)
        assert [cache.length for cache in together] == [len(ids) + 3 for ids in prompts]
