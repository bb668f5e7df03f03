"""The K types: blocks of 256 weights in groups of 16 or 32, each with a small integer scale, times the block's scale.

All formulas are those of ggml/src/ggml-quants.c, `dequantize_row_…`, and the layouts those of ggml-common.h.
A product d · scale · q has at most 11 + 7 + 6 significant bits: float32 holds it exactly, whatever the order
of the factors. Subtracting a minimum rounds once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.bits import bit_groups, column, floats
from llorch.formats.quants.types import Blocks, quant_type, vector_code

if TYPE_CHECKING:
    from llorch.formats.vector_code.vectors import Block, CodedWeights, Value

Bytes = NDArray[np.uint8]


@quant_type("Q2_K", id=10, weights=256, scales=("u1", 16), qs=("u1", 64), d="<f2", dmin="<f2")
def q2_k(b: Blocks) -> NDArray[np.float32]:
    """w = d · scale · q − dmin · minimum, groups of 16; scales: low nibbles are scales, high nibbles minima.

    qs: of each 32 bytes, the lowest two bits are 32 weights, the next two bits the following 32, and so on.
    Source: dequantize_row_q2_K.
    """
    scale = column(b["d"]) * floats(b["scales"] & 15)
    minimum = column(b["dmin"]) * floats(b["scales"] >> 4)
    q = bit_groups(b["qs"].reshape(-1, 2, 32), 2)
    return _scale_groups(scale, floats(q), minimum)


@vector_code("Q2_K")
def _q2_k(b: Block) -> Iterator[Value]:
    scales = b.numbers("scales", 0, 16)
    scale = b.numbers("d") * (scales & 15).floats()
    minimum = b.numbers("dmin") * (scales >> 4).floats()
    b.declare_bound(scale.magnitude() * 3.0 + minimum.magnitude())
    for group in range(16):
        q = _pair_of_bits(b, "qs", group)
        yield scale[group] * q.floats() - minimum[group]


@quant_type("Q3_K", id=11, weights=256, hmask=("u1", 32), qs=("u1", 64), scales=("u1", 12), d="<f2")
def q3_k(b: Blocks) -> NDArray[np.float32]:
    """w = d · (scale − 32) · (q − 4), groups of 16; q: low two bits in qs as in Q2_K, the third in hmask.

    hmask: bit j of its 32 bytes is for the j-th 32 weights. scales: the low nibbles of 16 scales as in Q4_0's qs, then
    their upper two bits as in Q2_K's qs. Source: dequantize_row_q3_K.
    """
    low = bit_groups(b["scales"][:, :8], 4).reshape(-1, 16)
    high = bit_groups(b["scales"][:, 8:], 2).reshape(-1, 16)
    scale = column(b["d"]) * (floats(low | high << 4) - np.float32(32))
    q = (
        bit_groups(b["qs"].reshape(-1, 2, 32), 2).reshape(-1, 256)
        | bit_groups(b["hmask"], 1).reshape(-1, 256) << 2
    )
    return _scale_groups(scale, floats(q) - np.float32(4))


@vector_code("Q3_K")
def _q3_k(b: Block) -> Iterator[Value]:
    low, high = b.numbers("scales", 0, 8), b.numbers("scales", 8, 4)
    low = (low & 15).concat(low >> 4)
    high = (high & 3).concat(high >> 2 & 3).concat((high >> 4 & 3).concat(high >> 6))
    scale = b.numbers("d") * ((low | high << 4) - 32).signed_floats()
    b.declare_bound(scale * 4.0)
    for group in range(16):
        third = b.numbers("hmask", 16 * (group % 2), 16) >> group // 2 & 1
        q = _pair_of_bits(b, "qs", group) | third << 2
        yield scale[group] * (q - 4).signed_floats()


@quant_type("Q4_K", id=12, weights=256, d="<f2", dmin="<f2", scales=("u1", 12), qs=("u1", 128))
def q4_k(b: Blocks) -> NDArray[np.float32]:
    """w = d · scale · q − dmin · minimum, groups of 32; low nibbles of 32 bytes, then their high ones.

    Source: dequantize_row_q4_K, get_scale_min_k4.
    """
    scale, minimum = _scales_and_minima(b)
    return _scale_groups(scale, floats(bit_groups(b["qs"].reshape(-1, 4, 32), 4)), minimum)


@vector_code("Q4_K")
def _q4_k(b: Block) -> Iterator[CodedWeights]:
    scale, minimum = _scale_and_minimum_vectors(b)
    b.declare_bound(scale.magnitude() * 15.0 + minimum.magnitude())
    for group in range(8):
        packed = b.numbers("qs", 32 * (group // 2), 32)
        codes = packed >> 4 if group % 2 else packed & 15
        yield b.coded(codes, partial(_less_minimum, scale[group], minimum[group]))


@quant_type("Q5_K", id=13, weights=256, d="<f2", dmin="<f2", scales=("u1", 12), qh=("u1", 32), qs=("u1", 128))
def q5_k(b: Blocks) -> NDArray[np.float32]:
    """As Q4_K; the fifth bit of q in group j is bit j of qh.

    Source: dequantize_row_q5_K, get_scale_min_k4.
    """
    scale, minimum = _scales_and_minima(b)
    low = bit_groups(b["qs"].reshape(-1, 4, 32), 4).reshape(-1, 256)
    return _scale_groups(scale, floats(low | bit_groups(b["qh"], 1).reshape(-1, 256) << 4), minimum)


@vector_code("Q5_K")
def _q5_k(b: Block) -> Iterator[Value]:
    scale, minimum = _scale_and_minimum_vectors(b)
    b.declare_bound(scale.magnitude() * 31.0 + minimum.magnitude())
    for part in range(16):
        fifth = b.numbers("qh", 16 * (part % 2), 16) >> part // 2 & 1
        q = _nibble(b, "qs", part, 32) | fifth << 4
        yield scale[part // 2] * q.floats() - minimum[part // 2]


@quant_type("Q6_K", id=14, weights=256, ql=("u1", 128), qh=("u1", 64), scales=("i1", 16), d="<f2")
def q6_k(b: Blocks) -> NDArray[np.float32]:
    """w = d · scale · (q − 32), groups of 16.

    Each half: low nibbles of 64 bytes of ql, then their high ones; the upper two bits in 32 bytes of qh, as in Q2_K.
    Source: dequantize_row_q6_K.
    """
    scale = column(b["d"]) * floats(b["scales"])
    low = bit_groups(b["ql"].reshape(-1, 2, 64), 4).reshape(-1, 256)
    high = bit_groups(b["qh"].reshape(-1, 2, 32), 2).reshape(-1, 256)
    return _scale_groups(scale, floats(low | high << 4) - np.float32(32))


@vector_code("Q6_K")
def _q6_k(b: Block) -> Iterator[Value]:
    scale = b.numbers("d") * b.numbers("scales", 0, 16).signed_floats()
    b.declare_bound(scale * 32.0)
    for group in range(16):
        q = _nibble(b, "ql", group, 64) | _pair_of_bits(b, "qh", group) << 4
        yield scale[group] * (q - 32).signed_floats()


@quant_type("Q8_K", id=15, weights=256, d="<f4", qs=("i1", 256), bsums=("<i2", 16))
def q8_k(b: Blocks) -> NDArray[np.float32]:
    """w = d · q, rounded once: d is a float32. bsums: sums of 16 q, needed only for products.

    ggml uses it for activations, never for a file's weights. Source: dequantize_row_q8_K.
    """
    return column(b["d"]) * floats(b["qs"])


@vector_code("Q8_K")
def _q8_k(b: Block) -> Iterator[Value]:
    d = b.numbers("d")
    b.declare_bound(d * 128.0)
    for first in range(0, 256, 16):
        yield d * b.numbers("qs", first, 16).signed_floats()


def _less_minimum(scale: Value, minimum: Value, q: Value) -> Value:
    return scale * q.floats() - minimum


def _scale_groups(
    scale: NDArray[np.float32], q: NDArray[np.float32], minimum: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return w = scale · q − minimum, (n, 256). scale, minimum: (n, groups); q: 256 per block, in any shape."""
    w = scale[:, :, None] * q.reshape(*scale.shape, -1)
    if minimum is not None:
        w -= minimum[:, :, None]
    return w.reshape(-1, 256)


def _scales_and_minima(b: Blocks) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unpack scales and minima, (n, 8) each, from twelve bytes, times d and dmin.

    The first four bytes hold scales 0–3 in their lower six bits, the next four minima 0–3. The last four hold the lower
    nibbles of scales 4–7 and, above them, of minima 4–7, whose upper two bits are the top bits of the first eight
    bytes.
    """
    first, second, nibbles = (b["scales"][:, i : i + 4] for i in (0, 4, 8))
    scale = np.concatenate([first & 63, nibbles & 15 | first >> 6 << 4], axis=-1)
    minimum = np.concatenate([second & 63, nibbles >> 4 | second >> 6 << 4], axis=-1)
    return column(b["d"]) * floats(scale), column(b["dmin"]) * floats(minimum)


def _scale_and_minimum_vectors(b: Block) -> tuple[Value, Value]:
    first, second, nibbles = (b.numbers("scales", i, 4) for i in (0, 4, 8))
    scale = (first & 63).concat(nibbles & 15 | first >> 6 << 4)
    minimum = (second & 63).concat(nibbles >> 4 | second >> 6 << 4)
    return b.numbers("d") * scale.floats(), b.numbers("dmin") * minimum.floats()


def _nibble(b: Block, field: str, part: int, run: int) -> Value:
    """Return nibbles 16 · part and following, stored as the low nibbles of `run` bytes, then their high ones."""
    index, within = divmod(16 * part, 2 * run)
    packed = b.numbers(field, index * run + within % run, 16)
    return packed >> 4 if within >= run else packed & 15


def _pair_of_bits(b: Block, field: str, part: int) -> Value:
    """Return 2-bit numbers 16 · part and following, stored as the lowest bits of 32 bytes, then the next ones, …"""
    half, within = divmod(part, 8)
    return b.numbers(field, 32 * half + 16 * (within % 2), 16) >> 2 * (within // 2) & 3
