"""The range of each quantized tensor's block scales, counted while its blocks are converted.

In nearly every type a scale is a float16 or an 8-bit code: counts of each magnitude give the exact minimum, median and
maximum, in the same small memory for a tensor of any size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from llorch.formats.gguf import Tensor, TensorData
from llorch.formats.quants import QuantType, e8m0_halved, ue4m3_halved

Bytes = NDArray[np.uint8]
Codes = NDArray[np.unsignedinteger]

MAGNITUDE = (1 << 15) - 1  # of a float16: all its bits but the sign
PIECE_BLOCKS = 1 << 14
# Pieces whose codes are counted together: counting costs an array of all possible codes, longer than one piece's
# codes; but also 8 bytes per code, and a piece has 32,768 codes if blocks have 32 weights.
MOST_WAITING = 8


@dataclass(frozen=True, slots=True)
class ScaleRange:
    """The magnitudes of a tensor's block scales.

    blocks: the number of scales (four per block in NVFP4, one in other types). zeros: scales that are 0, whose weights
    are all equal. minimum, median, maximum: of |d| of the others; None if there are none.
    """

    blocks: int
    zeros: int
    minimum: float | None
    median: float | None
    maximum: float | None


def has_scales(type: QuantType) -> bool:
    """Return whether the scales of a type are counted: all types with blocks except Q8_K, which no file has.

    Its scales are float32, with too many possible values to count.
    """
    return type.weights > 1 and type.name != "Q8_K"


class ScaleRanges:
    """Counts scales of tensors; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Codes]] = {}
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._bytes: dict[str, int] = {}
        self._ranges: dict[str, ScaleRange] = {}

    def count(self, tensor: Tensor, raw: Bytes) -> None:
        """Count the scales of some whole blocks of a tensor, little-endian; each block must be passed once."""
        if not has_scales(tensor.type):
            return
        # A copy: the next piece overwrites this buffer.
        codes = _codes(tensor.type)(raw.view(tensor.type.layout)).reshape(-1).copy()
        with self._lock:
            waiting = self._waiting.setdefault(tensor.name, [])
            waiting.append(codes)
            self._bytes[tensor.name] = self._bytes.get(tensor.name, 0) + raw.size
            complete = self._bytes[tensor.name] == tensor.nbytes
            if complete or len(waiting) == MOST_WAITING:
                self._count(tensor)
            if complete:
                self._ranges[tensor.name] = _range(tensor.type, self._counts.pop(tensor.name))

    def _count(self, tensor: Tensor) -> None:
        codes = np.concatenate(self._waiting.pop(tensor.name))
        counts = np.bincount(codes, minlength=len(_magnitudes(tensor.type)))
        counted = self._counts.get(tensor.name)
        self._counts[tensor.name] = counts if counted is None else counted + counts

    def ranges_of(self, tensors: Collection[Tensor], data: TensorData) -> Mapping[str, ScaleRange]:
        """Return the ranges of these tensors, in this order; those not seen completely are read again.

        Only what a killed run had converted was not seen.
        """
        quantized = [tensor for tensor in tensors if has_scales(tensor.type)]
        for tensor in quantized:
            if tensor.name not in self._ranges:
                for counted in (self._waiting, self._counts, self._bytes):
                    counted.pop(tensor.name, None)
                step = PIECE_BLOCKS * tensor.type.block_bytes
                for start in range(0, tensor.nbytes, step):
                    self.count(tensor, data.read(tensor, start, min(start + step, tensor.nbytes)))
        return {tensor.name: self._ranges[tensor.name] for tensor in quantized}


def _codes(type: QuantType) -> Callable[[NDArray[np.void]], Codes]:
    """Return the function that extracts the scales' codes from blocks; of a float16, its bits without the sign."""
    return {"MXFP4": _mxfp4_codes, "NVFP4": _nvfp4_codes, "IQ1_M": _iq1_m_codes}.get(
        type.name, _float16_codes
    )


def _float16_codes(blocks: NDArray[np.void]) -> Codes:
    codes: Codes = blocks["d"].view("<u2") & np.uint16(MAGNITUDE)
    return codes


def _mxfp4_codes(blocks: NDArray[np.void]) -> Codes:
    codes: Codes = blocks["e"]
    return codes


def _nvfp4_codes(blocks: NDArray[np.void]) -> Codes:
    codes: Codes = blocks["d"]
    return codes


def _iq1_m_codes(blocks: NDArray[np.void]) -> Codes:
    """IQ1_M's float16: the upper nibbles of four words, the lowest first; as in `llorch.formats.quants.iq`."""
    words = np.ascontiguousarray(blocks["scales"]).view("<u2")
    bits = np.bitwise_or.reduce(words >> 12 << np.arange(0, 16, 4, dtype=np.uint16), axis=-1)
    codes: Codes = bits & np.uint16(MAGNITUDE)
    return codes


@cache
def _magnitudes(type: QuantType) -> NDArray[np.float64]:
    """Return the magnitude of each code."""
    if type.name in ("MXFP4", "NVFP4"):  # these tables are halved, because the weights' tables are doubled
        return 2 * np.asarray(e8m0_halved() if type.name == "MXFP4" else ue4m3_halved(), np.float64)
    return np.arange(MAGNITUDE + 1, dtype=np.uint16).view(np.float16).astype(np.float64)


def _range(type: QuantType, counts: NDArray[np.int64]) -> ScaleRange:
    codes = np.flatnonzero(counts)
    codes = codes[np.argsort(_magnitudes(type)[codes], kind="stable")]
    values, counts = _magnitudes(type)[codes], counts[codes]
    zeros = int(counts[values == 0].sum())
    values, counts = values[values != 0], counts[values != 0]
    n = int(counts.sum())
    if not n:
        return ScaleRange(zeros, zeros, None, None, None)
    middle = values[np.searchsorted(np.cumsum(counts), [(n - 1) // 2, n // 2], side="right")]
    return ScaleRange(n + zeros, zeros, float(values[0]), float(middle.mean()), float(values[-1]))
