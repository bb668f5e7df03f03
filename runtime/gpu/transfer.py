"""Copy tensors from files to a GPU: large reads into pinned memory, copied while the next ones are read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llorch.formats.quants import QuantType, decode
from llorch.runtime.blocks.linear import Matrix, Numbers
from llorch.runtime.gpu.matrix import DeviceMatrix, FloatOnGpu, PackedOnGpu
from llorch.runtime.kernels.cuda.planes import TILE, plane_bytes, repack, widen
from llorch.runtime.kernels.cuda.unpack import FORMS

PIECE_BYTES = 16 << 20
BUFFERS = 4  # of PIECE_BYTES each: one is copied while the others are filled
READERS = 8  # threads, since one reads a cached file at only a few gigabytes per second
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ROUND_WEIGHTS = 1 << 24  # rounded at a time; with torch, because starting Triton takes a second

Read = Callable[[int, NDArray[np.uint8]], None]
"""Fill a buffer with a tensor's bytes from an offset on."""


class Uploader:
    """Copies tensors to a device through pinned buffers that are reused."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        pinned = device.type == "cuda"
        self._buffers = [
            torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=pinned) for _ in range(BUFFERS)
        ]
        self._copied = [
            torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]
            for _ in range(BUFFERS)
        ]
        self._next = 0
        self._lock = threading.Lock()  # lazy matrices may be first used in several threads at once
        self._pool = ThreadPoolExecutor(READERS)

    def upload(self, nbytes: int, unit: int, read: Read) -> Tensor:
        """Copy a tensor's bytes to the device. unit: size of a block, which is never divided between reads."""
        out = torch.empty(nbytes, dtype=torch.uint8, device=self._device)
        step = PIECE_BYTES // unit * unit
        with self._lock:
            for start in range(0, nbytes, step):
                size, turn = min(step, nbytes - start), self._next % BUFFERS
                self._next += 1
                copied = self._copied[turn]
                if copied is not None:
                    copied.synchronize()
                piece = self._buffers[turn][:size]
                self._fill(piece.numpy(), start, unit, read)
                out[start : start + size].copy_(piece, non_blocking=True)
                if copied is not None:
                    copied.record()
        return out

    def _fill(self, buffer: NDArray[np.uint8], start: int, unit: int, read: Read) -> None:
        share = -(-len(buffer) // READERS // unit) * unit if len(buffer) > 1 << 20 else len(buffer)
        share = max(unit, share)
        jobs = [
            self._pool.submit(read, start + first, buffer[first : first + share])
            for first in range(0, len(buffer), share)
        ]
        for job in jobs:
            job.result()


def packed_matrix(
    uploader: Uploader,
    numbers: Numbers,
    type: QuantType,
    rows: int,
    columns: int,
    read: Read,
    scales: Tensor | None = None,
) -> Matrix:
    """Load a tensor of a GGUF file to the device. scales: factors of equal shares of the rows."""
    nbytes = rows * columns // type.weights * type.block_bytes
    raw = uploader.upload(nbytes, type.block_bytes, read)
    factors = None if scales is None else scales.to(numbers.device).repeat_interleave(rows // len(scales))
    if type.name in FORMS:
        planes = repack(type, raw, rows, columns, factors)
        if numbers.rounded is None:
            return PackedOnGpu(rows, columns, numbers, DeviceMatrix(planes))
        rounded = torch.empty((rows, columns), dtype=numbers.rounded, device=numbers.device)
        step = max(TILE, ROUND_WEIGHTS // columns // TILE * TILE)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            rounded[first:last] = widen(planes.tiles(first, last))
        return FloatOnGpu(rounded, numbers)
    if type.name in FLOATS:
        weights = raw.view(FLOATS[type.name]).view(rows, columns)
    else:  # integers and doubles; no published model has matrices of these
        weights = torch.from_numpy(decode(type, raw.cpu().numpy())).view(rows, columns).to(numbers.device)
    if factors is not None:
        weights = weights.float() * factors[:, None]
    if numbers.rounded is not None:
        weights = weights.float().to(numbers.rounded)
    return FloatOnGpu(weights, numbers)


def float_matrix(
    uploader: Uploader, numbers: Numbers, dtype: str, rows: int, columns: int, read: Read
) -> Matrix:
    """Load a tensor of a safetensors file to the device, in the file's dtype."""
    kind = FLOATS[dtype]
    raw = uploader.upload(rows * columns * kind.itemsize, kind.itemsize, read)
    return FloatOnGpu(raw.view(kind).view(rows, columns), numbers)


def held_bytes(type: QuantType, rows: int, columns: int, rounded: torch.dtype | None) -> int:
    """Bytes that a tensor takes on the device."""
    if rounded is not None:
        return rows * columns * rounded.itemsize
    if type.name in FORMS:
        return plane_bytes(type, -(-rows // TILE) * TILE, columns)
    return rows * columns * (FLOATS[type.name].itemsize if type.name in FLOATS else 4)
