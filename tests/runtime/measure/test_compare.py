"""The comparison toolbox against definitions and hand counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from llorch.runtime.measure.compare import VOCABULARY_TILE, compare_logits

ROWS = arrays(np.float32, (3, 5), elements=st.floats(-30, 30, width=32))


def test_kl_of_two_tokens_is_the_hand_count() -> None:
    # P = (3/4, 1/4), Q = (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2
    apart = compare_logits([[math.log(3), 0]], [[0, 0]])
    assert apart.kl_mean == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-7)


@settings(deadline=None)
@given(ROWS, ROWS, st.floats(-5, 5))
def test_a_constant_added_to_all_logits_changes_nothing(
    p: NDArray[np.float32], q: NDArray[np.float32], c: float
) -> None:
    shifted = compare_logits(p, (q.astype(np.float64) + c).astype(np.float32))
    plain = compare_logits(p, q)
    np.testing.assert_allclose(shifted.kl, plain.kl, atol=1e-4)
    assert shifted.difference == pytest.approx(plain.difference, abs=1e-4)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_kl_is_never_negative_beyond_rounding_and_zero_for_equal_rows(
    p: NDArray[np.float32], q: NDArray[np.float32]
) -> None:
    assert compare_logits(p, q).kl.min() > -1e-12
    assert abs(compare_logits(p, p).kl).max() == 0


def test_tiles_of_a_large_vocabulary_are_one_whole() -> None:
    random = np.random.default_rng(3)
    p, q = random.normal(size=(2, 4, 2 * VOCABULARY_TILE + 77)).astype(np.float32)
    a, b = p.astype(np.float64), q.astype(np.float64)
    log_p = a - np.log(np.exp(a).sum(1, keepdims=True))
    log_q = b - np.log(np.exp(b).sum(1, keepdims=True))
    apart = compare_logits(p, q)
    np.testing.assert_allclose(apart.kl, (np.exp(log_p) * (log_p - log_q)).sum(1), rtol=1e-12)
    centred = abs((b - b.mean(1, keepdims=True)) - (a - a.mean(1, keepdims=True)))
    assert apart.difference == pytest.approx(centred.max(), rel=1e-12)
    assert apart.difference_at == np.unravel_index(centred.argmax(), centred.shape)


def test_a_flip_has_the_references_margin() -> None:
    apart = compare_logits([[1, 4, 2], [0, 0, 9]], [[1, 2, 3], [0, 0, 8]])
    (flip,) = apart.flips
    assert (flip.position, flip.reference_token, flip.tested_token, flip.margin) == (0, 1, 2, 2.0)
    assert apart.agreement == 0.5
    assert apart.largest_margin == 2.0


def test_the_worst_position_and_the_quantiles_are_reported() -> None:
    p = np.zeros((200, 2), np.float32)
    q = np.zeros((200, 2), np.float32)
    q[7, 0] = 3
    apart = compare_logits(p, q)
    assert (apart.kl_max_at, apart.kl_median, apart.positions) == (7, 0.0, 200)
    assert 0 == apart.kl_99 < apart.kl_max


def test_a_nan_is_not_overlooked() -> None:
    q = np.zeros((1, 3), np.float32)
    q[0, 1] = np.nan
    apart = compare_logits(np.zeros((1, 3)), q)
    assert math.isnan(apart.kl_mean)
    assert math.isnan(apart.difference)


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((3,), (3,)), ((0, 4), (0, 4))])
def test_logits_that_cannot_be_compared_are_an_error(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_logits(np.zeros(shapes[0]), np.zeros(shapes[1]))
