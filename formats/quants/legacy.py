"""The first quantized types: blocks of 32 weights with one scale, or a scale and a minimum.

All formulas are those of ggml/src/ggml-quants.c, `dequantize_row_…`, and the layouts those of ggml-common.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.bits import bit_groups, column, floats
from llorch.formats.quants.types import Blocks, quant_type, vector_code

if TYPE_CHECKING:
    from llorch.formats.vector_code.vectors import Block, CodedWeights, Value


@quant_type("Q4_0", id=2, weights=32, d="<f2", qs=("u1", 16))
def q4_0(b: Blocks) -> NDArray[np.float32]:
    """w = d · (q − 8); low nibbles are weights 0–15, high nibbles 16–31.

    Source: dequantize_row_q4_0.
    """
    return column(b["d"]) * (floats(_nibbles(b)) - np.float32(8))


@vector_code("Q4_0")
def _q4_0(b: Block) -> Iterator[CodedWeights]:
    d = b.numbers("d")
    b.declare_bound(d * 8.0)
    yield b.coded(_nibble_codes(b), lambda q: d * (q - 8).signed_floats())


@quant_type("Q4_1", id=3, weights=32, d="<f2", m="<f2", qs=("u1", 16))
def q4_1(b: Blocks) -> NDArray[np.float32]:
    """w = d · q + m; nibbles as in Q4_0. The sum is rounded once.

    Source: dequantize_row_q4_1.
    """
    return column(b["d"]) * floats(_nibbles(b)) + column(b["m"])


@vector_code("Q4_1")
def _q4_1(b: Block) -> Iterator[CodedWeights]:
    """Multiply and add as two instructions, never contracted to an FMA, so that the bits are the reference's."""
    d, m = b.numbers("d"), b.numbers("m")
    b.declare_bound(d.magnitude() * 15.0 + m.magnitude())
    yield b.coded(_nibble_codes(b), lambda q: d * q.floats() + m)


@quant_type("Q5_0", id=6, weights=32, d="<f2", qh="<u4", qs=("u1", 16))
def q5_0(b: Blocks) -> NDArray[np.float32]:
    """w = d · (q − 16); nibbles as in Q4_0; the fifth bit of weight i is bit i of qh.

    Source: dequantize_row_q5_0.
    """
    return column(b["d"]) * (floats(_nibbles(b) | _fifth_bits(b)) - np.float32(16))


@vector_code("Q5_0")
def _q5_0(b: Block) -> Iterator[Value]:
    d = b.numbers("d")
    b.declare_bound(d * 16.0)
    for nibbles, fifth in zip(_nibble_vectors(b), _fifth_vectors(b), strict=True):
        yield d * ((nibbles | fifth) - 16).signed_floats()


@quant_type("Q5_1", id=7, weights=32, d="<f2", m="<f2", qh="<u4", qs=("u1", 16))
def q5_1(b: Blocks) -> NDArray[np.float32]:
    """w = d · q + m; q as in Q5_0. The sum is rounded once.

    Source: dequantize_row_q5_1.
    """
    return column(b["d"]) * floats(_nibbles(b) | _fifth_bits(b)) + column(b["m"])


@vector_code("Q5_1")
def _q5_1(b: Block) -> Iterator[Value]:
    d, m = b.numbers("d"), b.numbers("m")
    b.declare_bound(d.magnitude() * 31.0 + m.magnitude())
    for nibbles, fifth in zip(_nibble_vectors(b), _fifth_vectors(b), strict=True):
        yield d * (nibbles | fifth).floats() + m


@quant_type("Q8_0", id=8, weights=32, d="<f2", qs=("i1", 32))
def q8_0(b: Blocks) -> NDArray[np.float32]:
    """w = d · q.

    Source: dequantize_row_q8_0.
    """
    return column(b["d"]) * floats(b["qs"])


@vector_code("Q8_0")
def _q8_0(b: Block) -> Iterator[Value]:
    d = b.numbers("d")
    b.declare_bound(d * 128.0)
    for first in (0, 16):
        yield d * b.numbers("qs", first, 16).signed_floats()


@quant_type("Q8_1", id=9, weights=32, d="<f2", s="<f2", qs=("i1", 32))
def q8_1(b: Blocks) -> NDArray[np.float32]:
    """w = d · q; s is d · Σq, needed only for products.

    ggml uses it for activations, never for a file's weights, and has no dequantize_row for it: this inverts
    quantize_row_q8_1_ref. gguf-py 0.19 gives its size as 40 bytes instead of 36.
    """
    return column(b["d"]) * floats(b["qs"])


@vector_code("Q8_1")
def _q8_1(b: Block) -> Iterator[Value | CodedWeights]:
    return _q8_0(b)


def _nibbles(b: Blocks) -> NDArray[np.uint8]:
    return bit_groups(b["qs"], 4).reshape(-1, 32)


def _fifth_bits(b: Blocks) -> NDArray[np.uint8]:
    bits = b["qh"][:, None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)
    return bits.astype(np.uint8) << np.uint8(4)


def _nibble_codes(b: Block) -> Value:
    qs = b.numbers("qs", 0, 16)
    return (qs & 15).concat(qs >> 4)


def _nibble_vectors(b: Block) -> Iterator[Value]:
    qs = b.numbers("qs", 0, 16)
    yield qs & 15
    yield qs >> 4


def _fifth_vectors(b: Block) -> Iterator[Value]:
    for byte in (0, 2):
        yield b.word("qh", byte, 16).flags().widen(8) << 4
