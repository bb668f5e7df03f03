"""The soak test passes if all is right, and finds stale cache rows, positions off by one, and memory leaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llorch import runtime
from llorch.runtime.blocks.cache import Cache
from llorch.runtime.kernels.cpu.steps.small_steps import TOKEN
from llorch.runtime.measure.soak import GROWTH_BYTES, REQUESTS, asks
from llorch.runtime.model import Model
from llorch.runtime.programs.steps import Steps
from llorch.runtime.traits import Rope
from tests.models.tiny import random_llama

MODES = pytest.mark.parametrize("mode", ["exact", "verify", "fast"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("soak") / "model.gguf"
    path.write_bytes(random_llama(matrices="Q8_0").build())
    return path


@MODES
def test_every_answer_is_that_of_a_fresh_model(model: Path, mode: str) -> None:
    fresh = runtime.fresh_answers(model, 3, "cpu", mode)
    with runtime.load(model, mode=mode) as loaded:
        assert loaded.mode == mode
        found = runtime.soak(loaded, fresh, seed=3, seconds=2.0)
    assert found.wrong == []
    assert found.passed
    assert found.asked > 2 * REQUESTS
    assert min(found.cancelled, found.chunked, found.tokens) > 0


@MODES
def test_a_stale_row_in_a_cache_is_found(model: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, advance, left = runtime.fresh_answers(model, 3, "cpu", mode), Cache.advance, list[Tensor]()

    def stale(cache: Cache, new: int) -> None:
        row = cache.keys(1)[0][:, cache.length]
        kept = row.clone()
        if left:
            row.copy_(left.pop())
        left.append(kept)
        advance(cache, new)

    monkeypatch.setattr(Cache, "advance", stale)
    with runtime.load(model, mode=mode) as loaded:
        found = runtime.soak(loaded, fresh, seed=3, seconds=0.0)
    assert not found.passed
    assert any(wrong.startswith("chunks of") for wrong in found.wrong), found.wrong
    assert any(wrong.startswith("long") for wrong in found.wrong), found.wrong


@MODES
def test_positions_that_are_off_by_one_in_later_chunks_are_found_though_a_fresh_model_has_them_too(
    model: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation, set_tokens = Cache.rotation, Steps.set_tokens

    def turned(cache: Cache, rope: Rope, places: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        return rotation(cache, rope, _off_by_one(places), like)

    def placed(steps: Steps, caches: Sequence[Cache], places: Sequence[int], threads: int) -> None:
        set_tokens(steps, caches, _off_by_one(places), threads)
        steps._tokens[:, TOKEN.slot("position")] = places

    monkeypatch.setattr(Cache, "rotation", turned)
    monkeypatch.setattr(Steps, "set_tokens", placed)
    fresh = runtime.fresh_answers(model, 3, "cpu", mode)
    assert any(wrong.startswith("chunks of") for wrong in fresh.wrong)
    with runtime.load(model, mode=mode) as loaded:
        found = runtime.soak(loaded, fresh, seed=3, seconds=0.0)
    assert not found.passed
    assert found.wrong == fresh.wrong


def _off_by_one(places: Sequence[int]) -> list[int]:
    return [place + (places[0] > 0) for place in places]


def test_a_memory_leak_is_found(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, new_cache, kept = runtime.fresh_answers(model, 3, "cpu", "exact"), Model.new_cache, list[Tensor]()

    def leaking(loaded: Model, planned: int) -> Cache:
        kept.append(torch.ones(GROWTH_BYTES // 16, dtype=torch.uint8))
        return new_cache(loaded, planned)

    monkeypatch.setattr(Model, "new_cache", leaking)
    with runtime.load(model) as loaded:
        found = runtime.soak(loaded, fresh, seed=3, seconds=2.0)
    assert found.wrong == []
    assert found.grown > GROWTH_BYTES
    assert not found.passed


def test_requests_are_those_of_their_seed_and_fit_the_context() -> None:
    assert asks(1, 100, 32) == asks(1, 100, 32) != asks(2, 100, 32)
    assert all(len(ask.prompt) >= 1 and len(ask.prompt) + ask.tokens <= 32 for ask in asks(1, 100, 32))
    assert all(1 <= ask.chunk <= len(ask.prompt) for ask in asks(1, 100, 32))
