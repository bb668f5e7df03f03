"""Sample blocks of a tensor type: random bytes, and every pair of unusual scales."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants import QuantType

Bytes = NDArray[np.uint8]

# Zero, −0, the smallest and largest subnormal half, the smallest normal, the largest, the infinities, a quiet and a
# signalling NaN, and a plain −1.5.
HALVES = np.array(
    [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7D01, 0xBE00], "<u2"
)
SINGLES = np.array(
    [
        0,
        0x80000000,
        1,
        0x007FFFFF,
        0x00800000,
        0x7F7FFFFF,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0x7F800001,
        0xBFC00000,
    ],
    "<u4",
)
DOUBLES = np.array(
    # The last four: half of the smallest subnormal float32, a tie between two float32, the largest float32 and half
    # a step more, and what still rounds down to it.
    [
        0.0,
        -0.0,
        5e-324,
        1.5,
        np.inf,
        -np.inf,
        np.nan,
        1e308,
        2.0**-150,
        1 + 2.0**-24,
        2.0**128 - 2.0**103,
        3.4e38,
    ],
    "<f8",
).view("<u8")
SPECIAL = {"<f2": HALVES, "<f4": SINGLES, "<f8": DOUBLES}


def random_blocks(type: QuantType, count: int) -> Bytes:
    """Return random bytes, (count · block_bytes,): of half scales one in 32 is infinite or NaN, one in 32 subnormal.

    Every other block's scales, or every other number, are as in a model, so that even float16 can hold the weights.
    """
    generator = np.random.default_rng(type.id)
    blocks = generator.integers(0, 256, count * type.block_bytes, np.uint8).view(type.layout)
    some = blocks[::2]
    for name in type.layout.names or ():
        if type.weights == 1:
            moderate = np.ldexp(generator.normal(size=len(some)), generator.integers(-30, 15, len(some)))
            bits = moderate.astype(np.float32).view(np.uint32) >> 16
            some[name] = bits if type.name == "BF16" else moderate
        elif some[name].dtype.kind == "f":
            some[name] = generator.normal(0, 0.01, len(some))
    if type.name == "MXFP4":
        some["e"] = generator.integers(100, 130, len(some))
    return blocks.view(np.uint8)


def edge_blocks(type: QuantType) -> Bytes:
    """Return blocks with every combination of unusual scales, over random, all-zero and all-one weights.

    Types with one-byte scales get every byte; in IQ1_M, whose half is scattered over four words, HALVES are assembled.
    """
    fields = type.layout.fields
    assert fields is not None
    scales = [(name, SPECIAL[kind.str]) for name, (kind, *_) in fields.items() if kind.str in SPECIAL]
    if type.name in ("MXFP4", "NVFP4"):
        scales = [("e" if type.name == "MXFP4" else "d", np.arange(256, dtype=np.uint8))]
    combinations = list(product(*(values for _, values in scales)))
    per_combination = 9
    blocks = random_blocks(type, len(combinations) * per_combination).view(type.layout)
    blocks = blocks.reshape(len(combinations), per_combination)
    blocks.view(np.uint8).reshape(*blocks.shape, -1)[:, :2] = np.array([0, 255], np.uint8)[None, :, None]
    for index, (name, values) in enumerate(scales):
        chosen = np.array([combination[index] for combination in combinations], values.dtype)
        field = blocks[name].view(values.dtype)
        field[...] = chosen.reshape(-1, *[1] * (field.ndim - 1))
    if type.name == "IQ1_M":
        blocks = np.concatenate([_scattered(blocks.copy(), half) for half in HALVES])
    return np.ascontiguousarray(blocks).view(np.uint8).reshape(-1)


def _scattered(blocks: NDArray[np.void], half: np.uint16) -> NDArray[np.void]:
    """Put this half's nibbles on top of the four scale words of IQ1_M blocks."""
    words = blocks["scales"]
    nibbles = int(half) >> np.arange(0, 16, 4) & 15
    words[...] = words & 0x0FFF | (nibbles << 12).astype("<u2")
    return blocks
