"""Weights as they are written, by NumPy alone: dequantized by the plain definitions, rounded once, found finite.

`dequantize_into` is the twin of `compiled.dequantize_into`, for the few weights that a compiler need not be
imported for, and the measure of its bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.types import QuantType, decode

Bytes = NDArray[np.uint8]

# float32, float16, or uint16 that are a bfloat16's bits.
Written = NDArray[Any]

# Weights to take at a time: temporaries of a few of these stay in the cache.
_PIECE = 1 << 16


def dequantize_into(type: QuantType, raw: Bytes, out: Written) -> int:
    """Dequantizes whole blocks into `out`, rounded once from float32 to nearest even.

    raw: contiguous bytes of blocks. out: contiguous, one element a weight; float32, float16, or uint16 for
    bfloat16. A type that is already what is written is copied.
    Returns the index of the first weight that is not finite as it is written, or −1: a NaN, an infinity, or a
    number too large for the type of `out`.
    """
    require_room(type, raw, out)
    if is_copy(type, out):
        out.view(np.uint8)[:] = raw
        return first_not_finite(out)
    blocks = max(1, _PIECE // type.weights)
    for first in range(0, raw.size // type.block_bytes, blocks):
        weights = decode(type, raw[first * type.block_bytes : (first + blocks) * type.block_bytes])
        start = first * type.weights
        rounded_into(weights, out[start : start + weights.size])
    return first_not_finite(out)


def rounded_into(weights: NDArray[np.float32], out: Written) -> None:
    """Rounds each weight to the type of `out`, to nearest even; a NaN stays one, what is too large is infinite."""
    if out.dtype != np.uint16:
        with np.errstate(all="ignore"):
            out[...] = weights
        return
    bits = weights.view(np.uint32)
    nearest = bits + (bits >> 16 & 1) + np.uint32(0x7FFF)
    out[...] = np.where(np.isnan(weights), bits | 0x400000, nearest) >> 16


def first_not_finite(out: Written) -> int:
    """The index of the first infinity or NaN among weights as they are written, or −1."""
    exponents = {"<f4": 0x7F800000, "<f2": 0x7C00, "<u2": 0x7F80}[out.dtype.str]
    bits = out.view(f"<u{out.itemsize}")
    for start in range(0, out.size, _PIECE):
        odd = bits[start : start + _PIECE] & exponents == exponents
        if odd.any():
            return start + int(odd.argmax())
    return -1


def written_name(out: Written) -> str:
    """What safetensors calls the type of `out`: "F32", "F16" or "BF16"."""
    return {"<f4": "F32", "<f2": "F16", "<u2": "BF16"}[out.dtype.str]


def is_copy(type: QuantType, out: Written) -> bool:
    """The stored weights are already what is to be written."""
    return type.name == written_name(out)


def require_room(type: QuantType, raw: Bytes, out: Written) -> None:
    """ValueError unless `raw` is whole blocks and `out` has an element for every weight in them."""
    blocks, rest = divmod(raw.size, type.block_bytes)
    if rest or out.size != blocks * type.weights:
        raise ValueError(f"{raw.size} bytes of {type} do not make {out.size} weights")
    if not (raw.flags.c_contiguous and out.flags.c_contiguous) or raw.ndim != 1 or out.ndim != 1:
        raise ValueError("blocks and weights must be flat and contiguous")
