"""The IQ types: an index selects a codebook row of four or eight weights.

All formulas are those of ggml/src/ggml-quants.c, `dequantize_row_…`, and the layouts those of ggml-common.h.
All products are exact in float32: scale, odd integer and codebook value have 11 + 5 + 7 significant bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.bits import bit_groups, column, floats, unpack_in_order
from llorch.formats.quants.codebooks import IQ4, grid
from llorch.formats.quants.types import Blocks, quant_type, vector_code

if TYPE_CHECKING:
    from llorch.formats.vector_code.vectors import Block, CodedWeights, Value

Floats = NDArray[np.float32]

# IQ1: the shift, up or down, of a row's values −1, 0, 1. IQ1S_DELTA in ggml-common.h.
DELTA = np.float32(0.125)


@quant_type("IQ2_XXS", id=16, weights=256, d="<f2", qs=("<u4", 16))
def iq2_xxs(b: Blocks) -> Floats:
    """w = ±d · (½ + s) / 4 · grid[index].

    A group of 32 is two words of 32 bits: four 8-bit indices; four 7-bit sign indices and, in the top four bits, s.
    Source: dequantize_row_iq2_xxs.
    """
    words = b["qs"].reshape(-1, 8, 2)
    rows = grid("IQ2_XXS")[_fields(words[:, :, 0], 8, 4)]
    return _with_signs(b, words[:, :, 1] >> 28, 0.25, rows, _signs(_fields(words[:, :, 1], 7, 4)))


@vector_code("IQ2_XXS")
def _iq2_xxs(b: Block) -> Iterator[Value]:
    d, rows = b.numbers("d"), grid("IQ2_XXS")
    for group in range(8):
        word = b.numbers("qs", 2 * group + 1)
        scale = d * (((word >> 28).floats() + 0.5) * 0.25)
        for pair in (0, 2):
            row = _row_vector(b, rows, [b.word("qs", 8 * group + pair + i, 8) for i in (0, 1)])
            yield scale * _signed_vector(b, row, [word >> 7 * (pair + i) & 127 for i in (0, 1)])


@quant_type("IQ2_XS", id=17, weights=256, d="<f2", qs=("<u2", 32), scales=("u1", 8))
def iq2_xs(b: Blocks) -> Floats:
    """w = ±d · (½ + s) / 4 · grid[index]; qs: 9 bits of index, then 7 of sign index; s: four bits per 16 weights.

    Source: dequantize_row_iq2_xs.
    """
    rows = grid("IQ2_XS")[b["qs"] & 511]
    return _with_signs(b, unpack_in_order(b["scales"], 4), 0.25, rows, _signs(b["qs"] >> 9))


@vector_code("IQ2_XS")
def _iq2_xs(b: Block) -> Iterator[Value]:
    d, rows = b.numbers("d"), grid("IQ2_XS")
    for group in range(16):
        words = [b.numbers("qs", 2 * group + i) for i in (0, 1)]
        row = _row_vector(b, rows, [word & 511 for word in words])
        yield _iq2_scale(b, d, group) * _signed_vector(b, row, [word >> 9 for word in words])


@quant_type(
    "IQ2_S", id=22, weights=256, d="<f2", qs=("u1", 32), signs=("u1", 32), qh=("u1", 8), scales=("u1", 8)
)
def iq2_s(b: Blocks) -> Floats:
    """w = ±d · (½ + s) / 4 · grid[index]; index: 8 bits in qs, two in qh; one bit of signs per weight.

    In ggml's struct, qs is 64 bytes, and the signs are its second half. Source: dequantize_row_iq2_s.
    """
    index = b["qs"] | unpack_in_order(b["qh"], 2).astype(np.uint16) << 8
    return _with_signs(
        b, unpack_in_order(b["scales"], 4), 0.25, grid("IQ2_S")[index], unpack_in_order(b["signs"], 1)
    )


@vector_code("IQ2_S")
def _iq2_s(b: Block) -> Iterator[Value]:
    d, rows = b.numbers("d"), grid("IQ2_S")
    for group in range(16):
        high = b.numbers("qh", group // 2).widen(32)
        index = [
            b.numbers("qs", i).widen(32) | (high >> 2 * (i % 4) & 3) << 8 for i in (2 * group, 2 * group + 1)
        ]
        signs = b.word("signs", 2 * group, 16)
        yield _iq2_scale(b, d, group) * _negate(_row_vector(b, rows, index), signs)


@quant_type("IQ3_XXS", id=18, weights=256, d="<f2", qs=("u1", 64), scales_and_signs=("<u4", 8))
def iq3_xxs(b: Blocks) -> Floats:
    """w = ±d · (½ + s) / 2 · grid[index], four weights per row; signs and s as in IQ2_XXS.

    In ggml's struct, qs is 96 bytes, and the words are its last third. Source: dequantize_row_iq3_xxs.
    """
    words = b["scales_and_signs"]
    return _with_signs(b, words >> 28, 0.5, grid("IQ3_XXS")[b["qs"]], _signs(_fields(words, 7, 4)))


@vector_code("IQ3_XXS")
def _iq3_xxs(b: Block) -> Iterator[Value]:
    d, rows = b.numbers("d"), grid("IQ3_XXS")
    for group in range(8):
        word = b.numbers("scales_and_signs", group)
        scale = d * (((word >> 28).floats() + 0.5) * 0.5)
        for half in (0, 1):
            row = _row_vector(b, rows, [b.numbers("qs", 8 * group + 4 * half + i) for i in range(4)])
            yield scale * _signed_vector(b, row, [word >> 7 * (2 * half + i) & 127 for i in (0, 1)])


@quant_type(
    "IQ3_S", id=21, weights=256, d="<f2", qs=("u1", 64), qh=("u1", 8), signs=("u1", 32), scales=("u1", 4)
)
def iq3_s(b: Blocks) -> Floats:
    """w = ±d · (1 + 2s) · grid[index], four weights per row; ninth bit of the index in qh; s: four bits per 32 weights.

    Source: dequantize_row_iq3_s.
    """
    index = b["qs"] | unpack_in_order(b["qh"], 1).astype(np.uint16) << 8
    return _with_signs(
        b, unpack_in_order(b["scales"], 4), 2, grid("IQ3_S")[index], unpack_in_order(b["signs"], 1)
    )


@vector_code("IQ3_S")
def _iq3_s(b: Block) -> Iterator[Value]:
    d, rows = b.numbers("d"), grid("IQ3_S")
    for part in range(16):
        high = b.numbers("qh", part // 2).widen(32)
        index = [
            b.numbers("qs", 4 * part + i).widen(32) | (high >> 4 * (part % 2) + i & 1) << 8 for i in range(4)
        ]
        s = b.numbers("scales", part // 4) >> 4 * (part // 2 % 2) & 15
        scale = d * (s << 1 | 1).floats()
        yield scale * _negate(_row_vector(b, rows, index), b.word("signs", 2 * part, 16))


@quant_type("IQ1_S", id=19, weights=256, d="<f2", qs=("u1", 32), qh=("<u2", 8))
def iq1_s(b: Blocks) -> Floats:
    """w = d · (2s + 1) · (grid[index] ± ⅛).

    qh has 16 bits per 32 weights: the upper three bits of four indices, three bits of s, one for the sign of ⅛.
    Source: dequantize_row_iq1_s.
    """
    index = b["qs"] | _fields(b["qh"], 3, 4).reshape(-1, 32).astype(np.uint16) << 8
    shift = np.where(b["qh"] >> 15, -DELTA, DELTA)
    rows = floats(grid("IQ1_S")[index]).reshape(-1, 8, 32) + shift[:, :, None]
    scale = column(b["d"]) * floats(2 * (b["qh"] >> 12 & 7) + 1)
    return (scale[:, :, None] * rows).reshape(-1, 256)


@vector_code("IQ1_S")
def _iq1_s(b: Block) -> Iterator[Value]:
    d, rows = b.numbers("d"), grid("IQ1_S")
    for group in range(8):
        word = b.numbers("qh", group).widen(32)
        scale = d * ((word >> 12 & 7) << 1 | 1).floats()
        shift = _eighth(word >> 15)
        for pair in (0, 2):
            index = [
                b.numbers("qs", 4 * group + i).widen(32) | (word >> 3 * i & 7) << 8 for i in (pair, pair + 1)
            ]
            yield scale * (_row_vector(b, rows, index).signed_floats() + shift)


@quant_type("IQ1_M", id=29, weights=256, qs=("u1", 32), qh=("u1", 16), scales=("<u2", 4))
def iq1_m(b: Blocks) -> Floats:
    """w = d · (2s + 1) · (grid[index] ± ⅛), s per 16 weights, the sign of ⅛ per 8.

    A nibble of qh has the upper three bits of an index, and a bit for the sign. scales: four words of 16 bits, each
    with four 3-bit s and, on top, four bits of d, the lowest bits in the first word. Source: dequantize_row_iq1_m.
    """
    words = b["scales"]
    nibbles = words >> 12 << np.arange(0, 16, 4, dtype=np.uint16)
    d = np.bitwise_or.reduce(nibbles, axis=-1).view("<f2")
    high = unpack_in_order(b["qh"], 4)
    index = b["qs"] | (high & 7).astype(np.uint16) << 8
    rows = floats(grid("IQ1_S")[index]) + np.where(high & 8, -DELTA, DELTA)[:, :, None]
    scale = column(d) * floats(2 * _fields(words, 3, 4).reshape(-1, 16) + 1)
    return (scale[:, :, None] * rows.reshape(-1, 16, 16)).reshape(-1, 256)


@vector_code("IQ1_M")
def _iq1_m(b: Block) -> Iterator[Value]:
    """Two codebook rows per vector, each with its own shift."""
    rows = grid("IQ1_S")
    words = [b.numbers("scales", i) for i in range(4)]
    d = b.half(words[0] >> 12 | words[1] >> 12 << 4 | words[2] >> 12 << 8 | words[3] >> 12 << 12)
    for part in range(16):
        scale = d * ((words[part // 4] >> 3 * (part % 4) & 7) << 1 | 1).floats()
        high = b.numbers("qh", part).widen(32)
        index = [b.numbers("qs", 2 * part + i).widen(32) | (high >> 4 * i & 7) << 8 for i in (0, 1)]
        low, up = (_eighth(high >> 4 * i + 3 & 1).spread(8) for i in (0, 1))
        yield scale * (_row_vector(b, rows, index).signed_floats() + low.concat(up))


@quant_type("IQ4_NL", id=20, weights=32, d="<f2", qs=("u1", 16))
def iq4_nl(b: Blocks) -> Floats:
    """w = d · IQ4[q]; low nibbles are weights 0–15, high nibbles 16–31.

    Source: dequantize_row_iq4_nl.
    """
    return column(b["d"]) * floats(IQ4[bit_groups(b["qs"], 4)]).reshape(-1, 32)


@vector_code("IQ4_NL")
def _iq4_nl(b: Block) -> Iterator[CodedWeights]:
    d, qs = b.numbers("d"), b.numbers("qs", 0, 16)
    b.declare_bound(d * 127.0)
    yield b.coded((qs & 15).concat(qs >> 4), partial(_scaled_iq4, d))


@quant_type("IQ4_XS", id=23, weights=256, d="<f2", scales_h="<u2", scales_l=("u1", 4), qs=("u1", 128))
def iq4_xs(b: Blocks) -> Floats:
    """w = d · (s − 32) · IQ4[q], groups of 32, nibbles as in IQ4_NL; s: four bits in scales_l, upper two in scales_h.

    Source: dequantize_row_iq4_xs.
    """
    s = unpack_in_order(b["scales_l"], 4) | _fields(b["scales_h"], 2, 8) << 4
    scale = column(b["d"]) * (floats(s) - np.float32(32))
    rows = floats(IQ4[bit_groups(b["qs"].reshape(-1, 8, 16), 4)]).reshape(-1, 8, 32)
    return (scale[:, :, None] * rows).reshape(-1, 256)


@vector_code("IQ4_XS")
def _iq4_xs(b: Block) -> Iterator[CodedWeights]:
    d, high = b.numbers("d"), b.numbers("scales_h").widen(32)
    for group in range(8):
        low = b.numbers("scales_l", group // 2).widen(32) >> 4 * (group % 2) & 15
        scale = d * ((low | (high >> 2 * group & 3) << 4) - 32).signed_floats()
        b.declare_bound(scale * 127.0)
        qs = b.numbers("qs", 16 * group, 16)
        codes = (qs & 15).concat(qs >> 4)
        yield b.coded(codes, partial(_scaled_iq4, scale))


def _scaled_iq4(scale: Value, q: Value) -> Value:
    return scale * q.look_up(IQ4).signed_floats()


def _fields(words: NDArray[Any], bits: int, count: int) -> NDArray[Any]:
    """Split words (…) into `count` fields (…, count) of `bits` bits each, the lowest first."""
    shifts = (bits * np.arange(count)).astype(words.dtype)
    fields: NDArray[Any] = words[..., None] >> shifts & words.dtype.type((1 << bits) - 1)
    return fields


def _signs(index: NDArray[Any]) -> NDArray[np.uint8]:
    """Seven sign bits and an eighth that makes their number even: indices (n, …) → bits (n, …, 8).

    Source: ksigns_iq2xs in ggml/src/ggml-common.h, which tabulates this.
    """
    seven = unpack_in_order(index.astype(np.uint8)[..., None], 1)[..., :7]
    return np.concatenate([seven, seven.sum(-1, keepdims=True, dtype=np.uint8) & 1], axis=-1)


# The byte of eight signs for every seven-bit index.
_SIGN_BYTES = np.packbits(_signs(np.arange(128)), axis=-1, bitorder="little").view(np.int8)


def _with_signs(
    b: Blocks, s: NDArray[Any], factor: float, rows: NDArray[np.int8], negative: NDArray[np.uint8]
) -> Floats:
    """Return ±d · (½ + s) · factor · row. s: (n, groups); rows and sign bits: 256 per block."""
    scale = column(b["d"]) * ((np.float32(0.5) + floats(s)) * np.float32(factor))
    signs = np.float32(1) - 2 * floats(negative.reshape(-1, 256))
    weights = floats(rows.reshape(-1, 256)) * signs
    return (scale[:, :, None] * weights.reshape(*scale.shape, -1)).reshape(-1, 256)


def _row_vector(b: Block, rows: NDArray[np.int8], index: list[Value]) -> Value:
    """Return codebook rows one after the other, as a vector of 16: two rows of eight bytes or four of four."""
    found = [b.row(rows, i) for i in index]
    while len(found) > 1:
        found = [one.concat(next) for one, next in zip(found[::2], found[1::2], strict=True)]
    return found[0]


def _signed_vector(b: Block, row: Value, index: list[Value]) -> Value:
    """Return a vector of 16 with the signs of two seven-bit indices."""
    low, high = (b.row(_SIGN_BYTES, i)[0].widen(16) for i in index)
    return _negate(row, low | high << 8)


def _negate(row: Value, signs: Value) -> Value:
    """Return 16 weights in float32, negated where a bit of `signs` is set; no row has a zero, so no −0 is lost."""
    return signs.flags().choose(row * -1, row).signed_floats()


def _iq2_scale(b: Block, d: Value, group: int) -> Value:
    """Return the scale of a group of 16 in IQ2_XS and IQ2_S: d · (½ + s) / 4."""
    s = b.numbers("scales", group // 2) >> 4 * (group % 2) & 15
    return d * ((s.floats() + 0.5) * 0.25)


def _eighth(down: Value) -> Value:
    """Return −⅛ if the bit is set, else ⅛."""
    return (down << 31 | 0x3E000000).as_floats()
