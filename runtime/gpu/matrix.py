"""Matrices in GPU memory: packed as planes, or floats in the file's dtype."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from llorch.runtime.blocks.linear import Linear, Matrix, Numbers
from llorch.runtime.kernels.cuda import launch
from llorch.runtime.kernels.cuda.planes import TILE, Planes, join_planes
from llorch.runtime.mode import Mode

VECTOR_ROWS = 8  # of activations, up to which matrix-vector kernels are used instead of dequantizing
WIDENED_BYTES = 1 << 29  # of a matrix, dequantized at a time


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a device current: Triton launches there, wherever its arguments are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@dataclass(slots=True)
class DeviceMatrix:
    """Planes shared by the matrices that are parts of them; replaced when matrices are stacked."""

    planes: Planes


class GpuMatrix(Matrix):
    """A matrix in GPU memory, multiplied there."""

    def times(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """See `Matrix.times`: by matrix-vector kernels for few rows of x, else dequantized and by cuBLAS."""
        rows = x.reshape(-1, self.columns)
        with on_device(x.device):
            if len(rows) <= VECTOR_ROWS and self.numbers.dtype == torch.float32:
                y = self._by_vectors(rows, bias)
            else:
                y = self.by_tiles(rows)
                y = y if bias is None else y + bias
        return y.view(*x.shape[:-1], self.rows)

    @abstractmethod
    def _by_vectors(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply a few rows of x, (new, columns) → (new, rows), in float32 with matrix-vector kernels."""

    @abstractmethod
    def widen(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Dequantize rows [start, stop) to a float type."""

    def dequantize(self, start: int, stop: int) -> Tensor:
        """See `Matrix`."""
        with on_device(self.numbers.device):
            return self.widen(start, stop, self.numbers.dtype)

    def materialize(self) -> None:
        """Nothing to do: the matrix is on the device already."""

    def by_tiles(self, x: Tensor) -> Tensor:
        """(new, columns) → (new, rows) in the arithmetic's dtype, with weights dequantized for it."""
        fast = self.numbers.mode is Mode.FAST
        dtype = torch.bfloat16 if fast else self.numbers.dtype
        step = max(TILE, WIDENED_BYTES // (dtype.itemsize * self.columns) // TILE * TILE)
        x = x.to(dtype)
        parts = [
            _product(x, self.widen(first, min(first + step, self.rows), dtype))
            for first in range(0, self.rows, step)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _product(x: Tensor, weights: Tensor) -> Tensor:
    """x · Wᵀ; for bfloat16 with a float32 result."""
    if x.dtype != torch.bfloat16:
        return functional.linear(x, weights)
    if not x.is_cuda:
        return functional.linear(x.float(), weights.float())
    return torch.mm(x, weights.t(), out_dtype=torch.float32)


class LazyMatrix(Matrix):
    """A matrix that is read from its file, to the device, when it is first used."""

    def __init__(self, rows: int, columns: int, numbers: Numbers, read: Callable[[], Matrix]) -> None:
        super().__init__(rows, columns, numbers)
        self._read = read

    @cached_property
    def _matrix(self) -> Matrix:
        matrix = self._read()
        matrix.numbers = self.numbers
        return matrix

    def part(self, start: int, stop: int) -> LazyMatrix:
        """Rows [start, stop), which are read with all others."""
        return LazyMatrix(stop - start, self.columns, self.numbers, lambda: self._matrix.part(start, stop))

    def times(self, x: Tensor, bias: Tensor | None) -> Tensor | None:
        """See `Matrix.times`."""
        return self._matrix.times(x, bias)

    def dequantize(self, start: int, stop: int) -> Tensor:
        """See `Matrix.dequantize`."""
        return self._matrix.dequantize(start, stop)

    def rows_at(self, ids: Tensor) -> Tensor:
        """See `Matrix.rows_at`."""
        return self._matrix.rows_at(ids)


class PackedOnGpu(GpuMatrix):
    """A packed matrix: rows of planes."""

    def __init__(self, rows: int, columns: int, numbers: Numbers, held: DeviceMatrix, start: int = 0) -> None:
        super().__init__(rows, columns, numbers)
        self.held = held
        self.start = start

    @property
    def aligned(self) -> bool:
        """Whether kernels can start at its first row, a multiple of 32."""
        return self.start % TILE == 0

    def part(self, start: int, stop: int) -> PackedOnGpu:
        """Rows [start, stop), in the same planes."""
        return PackedOnGpu(stop - start, self.columns, self.numbers, self.held, self.start + start)

    def widen(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Rows [start, stop), transposed in memory; exactly as the blocks decode, rounded once to `dtype`."""
        first = self.start + start
        tile = first // TILE * TILE
        made = torch.float32 if dtype == torch.float64 else dtype  # float32 holds decoded weights exactly
        return launch.widen_tiles(self.held.planes, tile, self.start + stop - tile, made)[first - tile :].to(
            dtype
        )

    def rows_at(self, ids: Tensor) -> Tensor:
        """See `Matrix`."""
        out = torch.empty((len(ids), self.columns), device=ids.device)
        with on_device(ids.device):
            launch.widen_rows(self.held.planes, ids + self.start, out)
        return out.to(self.numbers.dtype)

    def _by_vectors(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if not self.aligned:
            y = functional.linear(x, self.dequantize(0, self.rows))
            return y if bias is None else y + bias
        ready = launch.pack(x, fast=self.numbers.mode is Mode.FAST)
        planes = self.held.planes
        cut = launch.blocking(self.rows, planes, fast=ready.fast)
        y = torch.empty((len(x), cut.splits, self.rows), device=x.device)
        launch.packed_linear(planes, ready, y, start=self.start, rows=self.rows, bias=bias, cut=cut)
        return y.sum(1) if cut.splits > 1 else y.squeeze(1)


class FloatOnGpu(GpuMatrix):
    """Weights (rows, columns) in the file's dtype, or in the dtype that they were rounded to."""

    def __init__(self, weights: Tensor, numbers: Numbers) -> None:
        super().__init__(weights.shape[0], weights.shape[1], numbers)
        self.weights = weights

    def part(self, start: int, stop: int) -> FloatOnGpu:
        """Rows [start, stop), in the same memory."""
        return FloatOnGpu(self.weights[start:stop], self.numbers)

    def widen(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Rows [start, stop)."""
        return self.weights[start:stop].to(dtype)

    def rows_at(self, ids: Tensor) -> Tensor:
        """See `Matrix`."""
        return self.weights[ids].to(self.numbers.dtype)

    def _by_vectors(self, x: Tensor, bias: Tensor | None) -> Tensor:
        y = torch.empty((len(x), self.rows), device=x.device)
        launch.float_linear(self.weights, x.contiguous(), y, bias)
        return y


def join(matrices: Sequence[Matrix]) -> None:
    """Stack matrices of the same form in memory, so that one launch multiplies by all; others are left as they are.

    Their previous memory is freed.
    """
    if all(isinstance(m, FloatOnGpu) for m in matrices):
        _join_floats([m for m in matrices if isinstance(m, FloatOnGpu)])
    packed = [m for m in matrices if isinstance(m, PackedOnGpu)]
    planes = [m.held.planes for m in packed]
    whole = all(m.start == 0 and m.rows == m.held.planes.rows for m in packed)
    same = all(p.form == planes[0].form and p.rows % TILE == 0 and p.row_scale is None for p in planes)
    apart = len({id(m.held) for m in packed}) == len(matrices)
    if not (whole and same and apart):
        return
    shared, start = DeviceMatrix(join_planes(planes)), 0
    for matrix in packed:
        matrix.held, matrix.start = shared, start
        start += matrix.rows


def _join_floats(matrices: list[FloatOnGpu]) -> None:
    first = matrices[0].weights
    apart = len({m.weights.untyped_storage().data_ptr() for m in matrices}) == len(matrices)
    if not apart or any(m.weights.dtype != first.dtype for m in matrices):
        return
    shared = torch.cat([m.weights for m in matrices])
    for matrix, weights in zip(matrices, torch.split(shared, [m.rows for m in matrices]), strict=True):
        matrix.weights = weights


def follows(last: Matrix, next: Matrix) -> bool:
    """Whether the rows of `next` directly follow those of `last` in memory."""
    if isinstance(last, PackedOnGpu) and isinstance(next, PackedOnGpu):
        return last.held is next.held and last.start + last.rows == next.start
    if isinstance(last, FloatOnGpu) and isinstance(next, FloatOnGpu):
        over, under = last.weights, next.weights
        same = (
            over.untyped_storage().data_ptr() == under.untyped_storage().data_ptr()
            and over.dtype == under.dtype
        )
        return same and over.data_ptr() + over.nbytes == under.data_ptr() and over.stride() == under.stride()
    return False


def runs(linears: Sequence[Linear]) -> list[list[Linear]]:
    """Group linear layers whose rows follow one another in memory: one launch computes a group."""
    found: list[list[Linear]] = []
    for linear in linears:
        if found and follows(found[-1][-1].weight, linear.weight):
            found[-1].append(linear)
        else:
            found.append([linear])
    return found


def together(run: Sequence[Linear]) -> PackedOnGpu | FloatOnGpu:
    """The matrix of all rows of a run."""
    first, rows = run[0].weight, sum(linear.weight.rows for linear in run)
    if isinstance(first, PackedOnGpu):
        return PackedOnGpu(rows, first.columns, first.numbers, first.held, first.start)
    assert isinstance(first, FloatOnGpu)
    weights = first.weights
    return FloatOnGpu(weights.as_strided((rows, first.columns), weights.stride()), first.numbers)
