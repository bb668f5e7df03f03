"""Tensors from files to a GPU: by large reads into pinned memory, copied while the next ones are read."""

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
BUFFERS = 4  # of a piece each: while one is copied the others are read
READERS = 8  # threads: one reads a cached file at a few gigabytes a second
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ROUND_WEIGHTS = 1 << 24  # that are rounded at a time; by torch, since Triton takes a second to begin with

Read = Callable[[int, NDArray[np.uint8]], None]
"""Fills a buffer with the bytes of a tensor from the given one on."""


class Uploader:
    """Copies bytes of files to a device; its buffers are reused from one tensor to the next."""

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
        self._lock = threading.Lock()  # matrices that are read late may be first used by several threads
        self._pool = ThreadPoolExecutor(READERS)

    def upload(self, nbytes: int, unit: int, read: Read) -> Tensor:
        """A tensor's bytes on the device. unit: bytes that are read together, a block's."""
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
    """A tensor of a GGUF file on the device. scales: factors of equal shares of the rows."""
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
    else:  # integers and doubles, which no published model has for a matrix
        weights = torch.from_numpy(decode(type, raw.cpu().numpy())).view(rows, columns).to(numbers.device)
    if factors is not None:
        weights = weights.float() * factors[:, None]
    if numbers.rounded is not None:
        weights = weights.float().to(numbers.rounded)
    return FloatOnGpu(weights, numbers)


def float_matrix(
    uploader: Uploader, numbers: Numbers, dtype: str, rows: int, columns: int, read: Read
) -> Matrix:
    """A tensor of a safetensors file on the device, in its dtype there."""
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
