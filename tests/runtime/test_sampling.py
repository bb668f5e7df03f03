"""Sampling: laws of the filters, and random numbers that depend on seed and step only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from llorch.runtime.errors import RequestError
from llorch.runtime.sampling import Sampling, filter_scores, penalize, sample_token, uniform

LOGITS = arrays(np.float32, st.integers(2, 40), elements=st.floats(-20, 20, width=32))


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    assert sample_token(np.array([1, 7, 3, 7], np.float32), [], 0, Sampling()) == 1


@settings(deadline=None)
@given(LOGITS, st.integers(0, 1000))
def test_top_k_of_one_is_greedy(logits: NDArray[np.float32], seed: int) -> None:
    one = Sampling(temperature=0.7, top_k=1, seed=seed)
    assert sample_token(logits, [], 0, one) == sample_token(logits, [], 0, Sampling())


@settings(deadline=None)
@given(LOGITS, st.integers(0, 1000))
def test_a_temperature_near_zero_is_greedy_among_equals(logits: NDArray[np.float32], seed: int) -> None:
    cold = Sampling(temperature=1e-300, seed=seed)
    assert logits[sample_token(logits, [], 0, cold)] == logits.max()


@settings(deadline=None)
@given(LOGITS, st.integers(1, 40))
def test_top_k_keeps_the_k_largest_ties_by_id(logits: NDArray[np.float32], k: int) -> None:
    ids, _ = filter_scores(logits.astype(np.float64), Sampling(temperature=1, top_k=k))
    expected = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]
    assert ids.tolist() == expected


@settings(deadline=None)
@given(LOGITS, st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_tokens_that_reach_it(logits: NDArray[np.float32], p: float) -> None:
    scores = logits.astype(np.float64)
    probabilities = np.exp(scores) / np.exp(scores).sum()
    ids, _ = filter_scores(scores, Sampling(temperature=1, top_p=p))
    assert probabilities[ids].sum() >= p - 1e-12
    assert probabilities[ids[:-1]].sum() < p + 1e-12


def test_min_p_is_relative_to_the_most_probable() -> None:
    scores = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    ids, _ = filter_scores(scores, Sampling(temperature=1, min_p=0.25))
    assert ids.tolist() == [0, 1, 2]  # 0.125 and above stay


def test_the_penalty_counts_a_token_once_and_pushes_both_signs_down() -> None:
    assert penalize(np.array([4.0, -4.0, 1.0]), [0, 0, 1], 2.0).tolist() == [2.0, -8.0, 1.0]


def test_draws_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    sampling = Sampling(temperature=1, seed=11)
    drawn = (
        np.bincount([sample_token(logits, [], step, sampling) for step in range(4000)], minlength=3) / 4000
    )
    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.2], atol=0.03)  # four standard deviations


def test_a_step_does_not_depend_on_the_steps_before() -> None:
    assert [uniform(5, step) for step in (3, 1, 2)] == [uniform(5, 3), uniform(5, 1), uniform(5, 2)]
    assert len({uniform(seed, step) for seed in range(30) for step in range(30)}) == 900


def test_the_uniform_numbers_are_the_upper_53_bits_of_blake2b() -> None:
    # printf '0/0' | b2sum -l 64, read as a little-endian number
    digest = int.from_bytes(bytes.fromhex("2bc42e553a894a51"), "little")
    assert uniform(0, 0) == (digest // 2**11) / 2**53


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -1.0), ("temperature", float("nan")), ("top_k", -1), ("top_p", 0.0), ("top_p", 1.5),
     ("min_p", 2.0), ("repetition_penalty", 0.0)],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(RequestError, match=f"{field} is {value}"):
        Sampling(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.8),
        Sampling(temperature=3.0),
        Sampling(temperature=1.2, top_p=0.95),
        Sampling(temperature=5.0, top_p=0.999),
        Sampling(temperature=1.0, top_k=700),
        Sampling(temperature=1.0, min_p=1e-4, top_p=0.99),
    ],
    ids=str,
)
def test_a_large_vocabulary_is_sampled_as_if_fully_sorted(sampling: Sampling) -> None:
    drawn = np.random.default_rng(0)
    for step in range(40):
        logits = np.round(drawn.normal(0, 3, 20_000), 2).astype(np.float32)  # many are equal
        logits[drawn.integers(0, 20_000, 50)] = -np.inf
        scores = (logits.astype(np.float64) - logits.max()) / sampling.temperature
        ids = np.argsort(-scores, kind="stable")[: sampling.top_k or None]
        weights = np.exp(scores[ids])
        stays = (np.cumsum(weights) - weights < sampling.top_p * weights.sum()) | (sampling.top_p == 1)
        stays &= weights >= sampling.min_p * weights[0]
        ids, cumulative = ids[stays], np.cumsum(weights[stays])
        place = np.searchsorted(cumulative, uniform(sampling.seed, step) * cumulative[-1], side="right")
        assert sample_token(logits, [], step, sampling) == ids[place]
