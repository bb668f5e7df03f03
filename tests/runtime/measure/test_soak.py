"""A soak finds an answer that is not the fresh process's, and passes where all are."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch import runtime
from llorch.runtime.measure.soak import REQUESTS, asks, fresh_answers
from tests.models.tiny import random_llama


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("soak") / "model.gguf"
    path.write_bytes(random_llama().build())
    return path


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_every_answer_is_that_of_a_fresh_model(model: Path, mode: str) -> None:
    expected = fresh_answers(model, 3, "cpu", mode)
    with runtime.load(model, mode=mode) as loaded:
        found = runtime.soak(loaded, expected, seed=3, seconds=1.0)
    assert found.wrong == []
    assert found.passed
    assert found.asked > REQUESTS
    assert min(found.cancelled, found.chunked, found.tokens) > 0


def test_other_tokens_and_other_probabilities_are_wrong(model: Path) -> None:
    expected = fresh_answers(model, 3, "cpu", "exact")
    with runtime.load(model) as loaded:
        requests = asks(3, loaded.vocabulary_size, loaded.n_ctx)
        kinds = [ask.kind for ask in requests]
        place = kinds.index("chunks")
        expected[place] = [[token, value - 1] for token, value in expected[place]]
        expected[kinds.index("long")] = [-1]
        found = runtime.soak(loaded, expected, seed=3, seconds=0.0)
    assert not found.passed
    assert any(wrong.startswith("chunks of") for wrong in found.wrong)
    assert any(wrong.startswith("long") for wrong in found.wrong)


def test_requests_are_those_of_their_seed_and_fit_the_context() -> None:
    assert asks(1, 100, 32) == asks(1, 100, 32) != asks(2, 100, 32)
    assert all(len(ask.prompt) >= 1 and len(ask.prompt) + ask.tokens <= 32 for ask in asks(1, 100, 32))
