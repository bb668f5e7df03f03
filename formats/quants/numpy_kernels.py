"""Dequantization with NumPy alone: by the plain definitions, rounded once, with a check that all is finite.

`dequantize_into` does what `compiled.dequantize_into` does: for few weights, for which importing a compiler is not
worth it, and as the reference for its bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.types import QuantType, decode

Bytes = NDArray[np.uint8]

# float32, float16, or uint16 with the bits of bfloat16.
Written = NDArray[Any]

# Weights decoded at a time, so that the temporaries stay in the cache.
_PIECE = 1 << 16


def dequantize_into(type: QuantType, raw: Bytes, out: Written) -> int:
    """Dequantize whole blocks into `out`, rounded once from float32 to nearest even.

    raw: contiguous bytes of blocks. out: contiguous, one element per weight; float32, float16, or uint16 for
    bfloat16. A source already in the type of `out` is copied.
    Returns the index of the first weight that is not finite in the type of `out` (a NaN, an infinity, or a number too
    large for it), or −1.
    """
    require_room(type, raw, out)
    if is_copy(type, out):
        out.view(np.uint8)[:] = raw
        return first_not_finite(out)
    blocks = max(1, _PIECE // type.weights)
    for first in range(0, raw.size // type.block_bytes, blocks):
        weights = decode(type, raw[first * type.block_bytes : (first + blocks) * type.block_bytes])
        start = first * type.weights
        round_into(weights, out[start : start + weights.size])
    return first_not_finite(out)


def round_into(weights: NDArray[np.float32], out: Written) -> None:
    """Round weights to the type of `out`, to nearest even. A NaN stays a NaN; what is too large becomes infinite."""
    if out.dtype != np.uint16:
        with np.errstate(all="ignore"):
            out[...] = weights
        return
    bits = weights.view(np.uint32)
    nearest = bits + (bits >> 16 & 1) + np.uint32(0x7FFF)
    out[...] = np.where(np.isnan(weights), bits | 0x400000, nearest) >> 16


def first_not_finite(out: Written) -> int:
    """Return the index of the first infinity or NaN in `out`, or −1."""
    exponents = {"<f4": 0x7F800000, "<f2": 0x7C00, "<u2": 0x7F80}[out.dtype.str]
    bits = out.view(f"<u{out.itemsize}")
    for start in range(0, out.size, _PIECE):
        odd = bits[start : start + _PIECE] & exponents == exponents
        if odd.any():
            return start + int(odd.argmax())
    return -1


def dtype_name(out: Written) -> str:
    """Return safetensors' name of the type of `out`: "F32", "F16" or "BF16"."""
    return {"<f4": "F32", "<f2": "F16", "<u2": "BF16"}[out.dtype.str]


def is_copy(type: QuantType, out: Written) -> bool:
    """Return whether the stored weights already have the type of `out`."""
    return type.name == dtype_name(out)


def require_room(type: QuantType, raw: Bytes, out: Written) -> None:
    """Raise ValueError unless `raw` is whole blocks and `out` has one element for each of their weights."""
    blocks, rest = divmod(raw.size, type.block_bytes)
    if rest or out.size != blocks * type.weights:
        raise ValueError(f"{raw.size} bytes of {type} do not make {out.size} weights")
    if not (raw.flags.c_contiguous and out.flags.c_contiguous) or raw.ndim != 1 or out.ndim != 1:
        raise ValueError("blocks and weights must be flat and contiguous")
