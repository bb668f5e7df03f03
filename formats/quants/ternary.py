"""Types with two, three or four values per weight, for models trained that way.

All formulas are those of ggml/src/ggml-quants.c, `dequantize_row_…`, and the layouts those of ggml-common.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.bits import bit_groups, column, floats, unpack_in_order
from llorch.formats.quants.types import Blocks, quant_type, vector_code

if TYPE_CHECKING:
    from llorch.formats.vector_code.vectors import Block, Value


@quant_type("TQ1_0", id=34, weights=256, qs=("u1", 48), qh=("u1", 4), d="<f2")
def tq1_0(b: Blocks) -> NDArray[np.float32]:
    """w = d · (trit − 1); a byte holds five trits, as a base-3 fraction of 256.

    The first trits of 32 bytes, then their second ones, …; then 16 bytes likewise, and qh's, with four trits each.
    Source: dequantize_row_tq1_0.
    """
    trits = [_trits(b["qs"][:, :32], 5), _trits(b["qs"][:, 32:], 5), _trits(b["qh"], 4)]
    return column(b["d"]) * (floats(np.concatenate(trits, axis=-1)) - np.float32(1))


@vector_code("TQ1_0")
def _tq1_0(b: Block) -> Iterator[Value]:
    d = b.numbers("d")
    b.declare_bound(d)
    for run in (range(0, 32, 16), range(32, 48, 16)):
        for power in range(5):
            for first in run:
                yield d * _trit_vector(b.numbers("qs", first, 16) * 3**power)
    last = b.numbers("qh", 0, 4)
    lower, upper = last.concat(last * 3), (last * 9).concat(last * 27)
    yield d * _trit_vector(lower.concat(upper))


@quant_type("TQ2_0", id=35, weights=256, qs=("u1", 64), d="<f2")
def tq2_0(b: Blocks) -> NDArray[np.float32]:
    """w = d · (q − 1); of each 32 bytes, the lowest two bits are 32 weights, the next the following 32, …

    Source: dequantize_row_tq2_0.
    """
    q = bit_groups(b["qs"].reshape(-1, 2, 32), 2).reshape(-1, 256)
    return column(b["d"]) * (floats(q) - np.float32(1))


@vector_code("TQ2_0")
def _tq2_0(b: Block) -> Iterator[Value]:
    d = b.numbers("d")
    b.declare_bound(d * 2.0)
    for half in (0, 32):
        for shift in (0, 2, 4, 6):
            for first in (half, half + 16):
                yield d * ((b.numbers("qs", first, 16) >> shift & 3) - 1).signed_floats()


@quant_type("Q1_0", id=41, weights=128, d="<f2", qs=("u1", 16))
def q1_0(b: Blocks) -> NDArray[np.float32]:
    """w = d for a set bit, else −d; from the lowest bit of the first byte on.

    Source: dequantize_row_q1_0.
    """
    return column(b["d"]) * (2 * floats(unpack_in_order(b["qs"], 1)) - np.float32(1))


@vector_code("Q1_0")
def _q1_0(b: Block) -> Iterator[Value]:
    """Each two bytes select 16 signs."""
    d = b.numbers("d")
    b.declare_bound(d)
    for byte in range(0, 16, 2):
        yield b.word("qs", byte, 16).flags().choose(d, d * -1.0)


@quant_type("Q2_0", id=42, weights=64, d="<f2", qs=("u1", 16))
def q2_0(b: Blocks) -> NDArray[np.float32]:
    """w = d · (q − 1): −d, 0, d or 2d, from the lowest two bits of the first byte on.

    Source: dequantize_row_q2_0.
    """
    return column(b["d"]) * (floats(unpack_in_order(b["qs"], 2)) - np.float32(1))


@vector_code("Q2_0")
def _q2_0(b: Block) -> Iterator[Value]:
    """A 32-bit word in every lane, shifted right by twice the lane's number."""
    d = b.numbers("d")
    b.declare_bound(d * 2.0)
    for byte in range(0, 16, 4):
        q = b.word("qs", byte, 32).shift_by_lane(2) & 3
        yield d * (q - 1).signed_floats()


def _trits(packed: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Bytes (n, k) → trits (n, count · k): trit n of a byte is the whole part of 3 · (byte · 3ⁿ mod 256) / 256."""
    power = (3 ** np.arange(count)).astype(np.uint8)[:, None]
    fraction = packed[:, None, :] * power
    trits = fraction.astype(np.uint16) * 3 >> 8
    return trits.astype(np.uint8).reshape(len(packed), -1)


def _trit_vector(fraction: Value) -> Value:
    return ((fraction.widen(16) * 3 >> 8) - 1).signed_floats()
