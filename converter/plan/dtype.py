"""The dtypes that weights are written in: their names, and how far rounding to one moves a number."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Written = NDArray[Any]  # float32, float16, or uint16 with the bits of bfloat16


class DType(enum.StrEnum):
    """A dtype that weights are written in, as safetensors spells it."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"

    @property
    def torch_name(self) -> str:
        """Its name in torch and config.json."""
        return _TORCH_NAMES[self]

    @property
    def storage(self) -> np.dtype[Any]:
        """The NumPy dtype that holds it; for bfloat16 uint16."""
        return _STORAGE[self]

    @property
    def bits(self) -> int:
        """Bits per weight."""
        return 8 * self.storage.itemsize

    @classmethod
    def from_torch(cls, name: str) -> DType:
        """Return the dtype with this name in torch; KeyError for another name.

        >>> DType.from_torch("bfloat16")
        <DType.BF16: 'BF16'>
        """
        return _BY_TORCH_NAME[name]


_TORCH_NAMES = {DType.F32: "float32", DType.F16: "float16", DType.BF16: "bfloat16"}
_BY_TORCH_NAME = {name: dtype for dtype, name in _TORCH_NAMES.items()}
_STORAGE: Mapping[DType, np.dtype[Any]] = {
    DType.F32: np.dtype("<f4"),
    DType.F16: np.dtype("<f2"),
    DType.BF16: np.dtype("<u2"),
}
TORCH_NAMES = tuple(_BY_TORCH_NAME)

# The bits of +∞. Among the bits without the sign, those of NaNs are larger and those of finite numbers smaller.
_INFINITY = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}

# Half the distance between neighbouring numbers: relative to the number, and absolute for subnormal ones.
_HALF_SPACING = {"F32": (2.0**-24, 2.0**-150), "F16": (2.0**-11, 2.0**-25), "BF16": (2.0**-8, 2.0**-134)}


def widen(weights: Written, dtype: str) -> Float32:
    """Convert to float32, exactly."""
    if dtype == "BF16":
        return (weights.astype(np.uint32) << 16).view(np.float32)
    return weights.astype(np.float32)


def all_finite(weights: Written, dtype: str) -> bool:
    """Return whether there is no NaN and no infinity, by two reductions over the bits without a temporary array."""
    infinity, size = _INFINITY[dtype], weights.dtype.itemsize
    sign = 1 << (8 * size - 1)
    # As signed integers, the bits of negative numbers are negative.
    positive = weights.view(f"<i{size}").max() < infinity
    return bool(positive and weights.view(f"<u{size}").max() < sign + infinity)


def rounding_error(weights: Float32, dtype: str) -> NDArray[np.float64]:
    """Return the most by which one rounding to `dtype` may have moved a number that became each of these."""
    relative, absolute = _HALF_SPACING[dtype]
    return np.maximum(np.abs(weights.astype(np.float64)) * relative, absolute)
