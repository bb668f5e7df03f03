"""Operations and their inverses: laws over every bit pattern, and an example computed by hand for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from llorch.converter.schema.operations import (
    OPERATIONS,
    Operation,
    OperationKind,
    group_columns,
    log_negative,
    rope_halves,
    subtract_one,
    transpose,
)

Rows = NDArray[np.float32]

HEAD_DIM = 4
COLUMNS = 6
SIZES = {"head_dim": HEAD_DIM, "rows": HEAD_DIM, "columns": COLUMNS, "groups": 3, "repeats": 2, "width": 1}

every_float32 = hnp.arrays(
    np.uint32, st.tuples(st.integers(1, 5).map(lambda heads: heads * HEAD_DIM), st.just(COLUMNS))
).map(lambda bits: bits.view(np.float32))

finite_float32 = hnp.arrays(np.float32, (4, 2), elements=st.floats(-(2.0**100), 2.0**100, width=32))


def with_head_dim(kind: OperationKind) -> Operation:
    """Return an operation of a kind whose parameters are all named sizes."""
    return kind(*kind.parameters).with_sizes(SIZES)


KINDS = list(OPERATIONS.values())
MOVES = [kind for kind in KINDS if kind.moves]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_operation_has_an_inverse_that_gives_back_the_shape(kind: OperationKind) -> None:
    operation = with_head_dim(kind)
    rows = -1 - np.arange(8 * COLUMNS, dtype=np.float32).reshape(8, COLUMNS)
    assert operation.forward(rows).size == rows.size
    assert operation.backward(operation.forward(rows)).shape == rows.shape


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.name)
@given(weights=every_float32)
def test_the_inverse_of_a_move_gives_back_the_same_bits(kind: OperationKind, weights: Rows) -> None:
    operation = with_head_dim(kind)
    for back in (
        operation.backward(operation.forward(weights)),
        operation.forward(operation.backward(weights)),
    ):
        bits = np.ascontiguousarray(back).view(np.uint32)
        assert bits.ravel().tolist() == weights.view(np.uint32).ravel().tolist()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(weights=every_float32)
def test_an_operation_applies_unit_by_unit(kind: OperationKind, weights: Rows) -> None:
    operation = with_head_dim(kind)
    unit = operation.unit_rows
    with np.errstate(all="ignore"):
        whole = operation.forward(weights)
        parts = [operation.forward(weights[at : at + unit]) for at in range(0, len(weights), unit)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_rope_halves_moves_a_head_of_four_rows() -> None:
    rows = np.arange(4, dtype=np.float32)[:, None]  # pairs (0, 1) and (2, 3)
    assert rope_halves.forward(rows, head_dim=4)[:, 0].tolist() == [0, 2, 1, 3]


def test_rope_halves_keeps_heads_apart() -> None:
    rows = np.arange(12, dtype=np.float32)[:, None]
    moved = rope_halves.forward(rows, head_dim=6)[:, 0].tolist()
    assert moved == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_rope_halves_is_not_its_own_inverse() -> None:
    rows = np.arange(6, dtype=np.float32)[:, None]
    assert rope_halves.backward(rows, head_dim=6)[:, 0].tolist() == [0, 3, 1, 4, 2, 5]


def test_transpose_transposes_each_matrix_separately() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)  # two matrices of 2 × 3
    turned = transpose.forward(rows, rows=2, columns=3)
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]


def test_group_columns_puts_the_heads_of_a_group_together() -> None:
    # heads 1 to 4 of two channels, two groups
    tiled = np.array([[10, 11, 20, 21, 30, 31, 40, 41]], np.float32)
    assert group_columns.forward(tiled, groups=2, repeats=2, width=2).tolist() == [
        [10, 11, 30, 31, 20, 21, 40, 41]
    ]
    thirds = np.arange(6, dtype=np.float32)[None]  # [repeat][group] → [group][repeat]: not its own inverse
    assert group_columns.forward(thirds, groups=3, repeats=2, width=1).tolist() == [[0, 3, 1, 4, 2, 5]]


def test_log_negative_is_the_decays_logarithm_and_never_fails_silently() -> None:
    rows = np.array([[-1.0], [-np.e], [-16.0]], np.float32)
    assert log_negative.forward(rows)[:, 0] == pytest.approx([0.0, 1.0, np.log(16)], abs=1e-7)
    assert log_negative.backward(np.array([[0.0]], np.float32)).tolist() == [[-1.0]]
    with np.errstate(all="ignore"):  # an impossible decay becomes NaN, which the pipeline refuses to write
        assert not np.isfinite(log_negative.forward(np.array([[0.0], [1.0]], np.float32))).any()


def test_every_bfloat16_decay_survives_a_round_trip_through_a_gguf() -> None:
    """−exp(A_log) rounded to float32 and back, rounded to bfloat16: the A_log of every model here is from −3 to 3."""
    bits = np.arange(1 << 16, dtype=np.uint32) << 16
    originals = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        originals = originals[(np.abs(originals) >= 2.0**-14) & (np.abs(originals) < 8)][:, None]
    back = log_negative.forward((-np.exp(originals.astype(np.float64))).astype(np.float32))
    rounded = (back.view(np.uint32).astype(np.uint64) + 0x8000 & 0xFFFF0000).astype(np.uint32)
    assert rounded.tolist() == originals.view(np.uint32).tolist()


def test_subtract_one_takes_one_away_and_its_inverse_adds_it() -> None:
    rows = np.array([[1.5], [0.25], [-1.0]], np.float32)
    assert subtract_one.forward(rows)[:, 0].tolist() == [0.5, -0.75, -2.0]
    assert subtract_one.backward(rows)[:, 0].tolist() == [2.5, 1.25, 0.0]


@given(weights=finite_float32)
def test_subtract_one_is_exact_from_one_half_on_and_one_rounding_below(weights: Rows) -> None:
    without = subtract_one.forward(weights)
    lost = np.abs(without.astype(np.float64) - (weights.astype(np.float64) - 1))
    assert np.all(lost <= np.spacing(np.abs(without)).astype(np.float64) / 2)
    kept = (weights >= 0.5) & (weights < 2.0**24)
    assert np.all(lost[kept] == 0)
    assert np.array_equal(subtract_one.backward(without)[kept], weights[kept])


def test_every_bfloat16_weight_from_2_to_the_minus_16_survives_a_round_trip_through_a_gguf() -> None:
    bits = np.arange(1 << 16, dtype=np.uint32) << 16
    originals = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        originals = originals[(np.abs(originals) >= 2.0**-16) & (np.abs(originals) < 100)]
    stored = originals + np.float32(1)
    assert subtract_one.forward(stored[:, None])[:, 0].tobytes() == originals.tobytes()


def test_an_operation_prints_its_parameters() -> None:
    operation = rope_halves("head_dim").with_sizes({"head_dim": 64})
    assert (str(operation), operation.name, operation.unit_rows) == (
        "rope_halves(head_dim=64)",
        "rope_halves",
        64,
    )


def test_an_operation_without_inverse_is_found() -> None:
    kind = OperationKind("one_way", lambda w: w, (), None, moves=True)
    with pytest.raises(LookupError, match="one_way has no inverse"):
        kind().backward(np.zeros((1, 1), np.float32))
