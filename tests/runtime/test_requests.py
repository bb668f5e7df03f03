"""A request's answer depends on nothing but the request, and what cannot be served is rejected before any work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llorch.runtime.decoder import Decoder
from llorch.runtime.errors import ContextFull, RequestError, UnknownToken
from llorch.runtime.loading import load
from llorch.runtime.model import Model
from llorch.runtime.sampling import Sampling

ONE, OTHER = [5, 9, 200, 31, 7, 44], [300, 2, 2, 61, 118, 9, 10, 77, 5]
DRAWN = Sampling(temperature=0.8, top_k=50, seed=3)

ALONE = """
import sys, torch
from llorch.runtime.loading import load
torch.set_num_threads(1)
with load(sys.argv[1]) as model:
    sys.stdout.buffer.write(model.logits([int(id) for id in sys.argv[2:]]).numpy().tobytes())
"""


@pytest.fixture
def path(test_data: Path) -> Path:
    return test_data / "tiny" / "llama" / "q4_k_m.gguf"


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with load(path) as loaded:
        yield loaded


def bits(logits: Tensor) -> bytes:
    return logits.numpy().tobytes()


def test_requests_give_the_same_bits_in_any_order_and_in_fresh_processes(path: Path) -> None:
    with load(path) as first, load(path) as second:
        in_order = [bits(first.logits(ids)) for ids in (ONE, OTHER)]
        reversed_order = [bits(second.logits(ids)) for ids in (OTHER, ONE)][::-1]
    command = [sys.executable, "-c", ALONE, str(path)]
    alone = [
        subprocess.run([*command, *map(str, ids)], check=True, capture_output=True).stdout
        for ids in (ONE, OTHER)
    ]
    assert in_order == reversed_order == alone


def test_interleaved_generations_equal_sequential_ones(model: Model) -> None:
    def start(prompt: list[int]) -> Iterator[str]:
        return model.stream(prompt, max_new_tokens=24, sampling=DRAWN)

    one, other = "".join(start(ONE)), "".join(start(OTHER))
    together = [start(ONE), start(OTHER)]
    texts = ["", ""]
    for _ in range(24):
        for index, stream in enumerate(together):
            texts[index] += next(stream, "")
    assert texts == [one, other]


def test_greedy_steps_are_the_largest_logits_of_the_whole_sequence(model: Model) -> None:
    ids = list(model.generate(ONE, max_new_tokens=12).ids)
    logits = model.logits(ONE + ids)
    assert ids == logits[len(ONE) - 1 : -1].argmax(-1).tolist()


def test_a_seed_gives_the_same_text_again_and_another_seed_another(model: Model) -> None:
    texts = [
        model.generate(ONE, max_new_tokens=20, sampling=Sampling(temperature=1.0, seed=seed)).ids
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_rows_of_the_output_layer_without_a_token_are_never_sampled(model: Model) -> None:
    hot = Sampling(temperature=1000.0)  # every row is as probable as every other
    drawn = [
        model.generate(ONE, max_new_tokens=60, sampling=replace(hot, seed=seed)).ids for seed in range(4)
    ]
    ids = [token for sequence in drawn for token in sequence]
    assert model.vocabulary_size == 384
    assert model.text.size == 365
    assert max(ids) < 365


def never(*_: object) -> Tensor:
    raise AssertionError("something was computed")


@pytest.mark.parametrize("positions", [321, 10**9])
def test_a_sequence_beyond_the_context_is_refused_before_any_work(
    model: Model, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "hidden", never)
    with pytest.raises(ContextFull, match=rf"needs {positions:,} positions, the model's context has 320"):
        model.logits(ONE, planned=positions)
    with pytest.raises(ContextFull, match=r"the model's context has 320") as caught:
        model.generate(ONE, max_new_tokens=positions - len(ONE))
    assert (caught.value.needed, caught.value.n_ctx) == (positions, 320)


def test_a_generation_may_fill_the_context_to_its_last_position(model: Model) -> None:
    prompt = (ONE * 60)[:310]
    generation = model.generate(prompt)
    assert (len(generation.ids), generation.finish) == (10, "length")
    logits = model.logits([*prompt, *generation.ids])
    assert list(generation.ids) == logits[309:-1].argmax(-1).tolist()
    with pytest.raises(ContextFull, match=r"a prompt of 320 tokens and 1 new needs 321"):
        model.generate([*prompt, *generation.ids])


def test_a_step_beyond_what_the_cache_was_planned_for_is_refused(model: Model) -> None:
    cache = model.new_cache(4)
    with pytest.raises(ContextFull, match="needs 5 positions, its cache has 4"):
        model.decoder.hidden(torch.tensor([1, 2, 3, 4, 5]), cache)
    assert cache.length == 0


@pytest.mark.parametrize("token", [-1, 384])
def test_a_token_outside_the_vocabulary_is_named(model: Model, token: int) -> None:
    with pytest.raises(UnknownToken, match=rf"token id {token} is outside the vocabulary of 384"):
        model.logits([1, token])
    with pytest.raises(UnknownToken):
        model.generate([token])


def test_zero_new_tokens_need_no_computation(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "hidden", never)
    generation = model.generate((ONE * 60)[:320], max_new_tokens=0)
    assert (generation.ids, generation.text, generation.finish) == ((), "", "length")


def test_an_empty_prompt_is_refused(model: Model) -> None:
    with pytest.raises(RequestError, match="the prompt is empty"):
        model.generate([])


def test_an_unavailable_device_is_named(path: Path) -> None:
    with pytest.raises(RequestError, match=r"the device 'abacus' cannot be used: [^\n]+$"):
        load(path, device="abacus")


def test_no_tokens_have_no_logits(model: Model) -> None:
    assert model.logits([]).shape == (0, 384)


def test_a_generation_stops_at_an_end_token_and_leaves_it_out(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = model.generate(ONE, max_new_tokens=8)
    third = free.ids[2]
    monkeypatch.setattr(Model, "end_ids", (third,))
    ended = model.generate(ONE, max_new_tokens=8)
    assert (ended.finish, ended.ids) == ("end", free.ids[: free.ids.index(third)])


def test_a_cancelled_request_ends_before_the_next_token(model: Model) -> None:
    stream = model.stream(ONE, max_new_tokens=50)
    next(stream)
    stream.cancel()
    rest = list(stream)
    assert stream.generation.finish == "cancelled"
    assert len(stream.ids) < 6
    assert len(rest) <= 1


def test_a_request_cancelled_before_its_prompt_is_read_computes_nothing(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "hidden", never)
    stream = model.stream(ONE, max_new_tokens=5)
    stream.cancel()
    assert list(stream) == []
    assert stream.generation.finish == "cancelled"


def test_a_result_has_the_mode_of_its_arithmetic(model: Model) -> None:
    assert model.mode == model.generate(ONE, max_new_tokens=1).mode == "exact"
