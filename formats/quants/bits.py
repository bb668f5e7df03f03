"""Unpacking of small integers from bytes, in the few ways that ggml's types share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bit_groups(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Bytes (…, k) → (…, 8 / bits, k): part i is the i-th group of bits of every byte, the low ones first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return (packed[..., None, :] >> shifts) & np.uint8((1 << bits) - 1)


def unpack_in_order(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Bytes (…, k) → (…, k · 8 / bits): the groups of bits of the first byte, low ones first, then of the next."""
    split = bit_groups(packed, bits)
    return split.swapaxes(-1, -2).reshape(*packed.shape[:-1], -1)


def floats(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Convert to float32; exact for halves and for integers of up to 24 bits."""
    return numbers.astype(np.float32)


def column(scale: NDArray[Any]) -> NDArray[np.float32]:
    """Reshape one number per block, (n,), to a float32 column (n, 1), which multiplies rows of weights."""
    return floats(scale)[:, None]
