"""Linear layers, and weight matrices in the form a file stores them.

A matrix stays as stored (quantized blocks, or a narrow float type) until it is used. Dequantized weights are kept only
if the whole model in float32 fits its bound. That is decided at loading and never depends on earlier requests, so the
same request gives the same bits at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from llorch.formats.quants import QuantType, by_name, dequantize_into
from llorch.runtime.kernels.cpu.multiply import Blocks, Product, can_multiply, multiply
from llorch.runtime.memory import TILE_BYTES
from llorch.runtime.mode import Mode

STORED_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
ROUNDED_NAMES = {None: None, torch.bfloat16: "BF16", torch.float16: "F16"}


@dataclass(frozen=True, slots=True)
class Numbers:
    """The arithmetic of a model: what weights are converted to when they are used.

    dtype: of all arithmetic. rounded: a type to which each weight is rounded once before, or None.
    keep: whether a matrix stays dequantized after its first use. mode: how products with packed weights are computed.
    lazy: whether a GPU reads a matrix when it is first used, and not while the model is loaded.
    """

    dtype: torch.dtype
    device: torch.device
    rounded: torch.dtype | None = None
    keep: bool = False
    mode: Mode = Mode.EXACT
    lazy: bool = False

    @property
    def has_kernels(self) -> bool:
        """Whether the CPU kernels apply: float32 on a CPU."""
        return self.device.type == "cpu" and self.dtype == torch.float32

    @property
    def on_gpu(self) -> bool:
        """Whether weights are held, and multiplied, in the memory of a CUDA device."""
        return self.device.type == "cuda" and has_triton()


@cache
def has_triton() -> bool:
    """Whether Triton is installed: without it weights are dequantized on the host."""
    return find_spec("triton") is not None


class Matrix(ABC):
    """A weight matrix of shape (rows, columns)."""

    def __init__(self, rows: int, columns: int, numbers: Numbers) -> None:
        self.rows = rows
        self.columns = columns
        self.numbers = numbers

    @abstractmethod
    def dequantize(self, start: int, stop: int) -> Tensor:
        """Dequantize rows [start, stop) to the arithmetic's dtype; the result must not be written to."""

    @property
    def tile(self) -> int:
        """Rows dequantized at a time."""
        return max(1, TILE_BYTES // (4 * self.columns))

    @property
    def keeps(self) -> bool:
        """Whether it stays dequantized after its first use."""
        return self.numbers.keep

    def blocks(self) -> Blocks | None:
        """The packed rows in memory, for the CPU kernels; None if those cannot use them."""
        return None

    def rows_at(self, ids: Tensor) -> Tensor:
        """The rows with these ids, (len(ids), columns), without dequantizing the others."""
        return torch.cat([self.dequantize(row, row + 1) for row in ids.tolist()])

    def times(self, x: Tensor, bias: Tensor | None) -> Tensor | None:  # noqa: ARG002 for subclasses with kernels
        """(…, columns) → (…, rows), x · Wᵀ + b by the device's own kernels; None if it has none."""
        return None

    def part(self, start: int, stop: int) -> Matrix:
        """Rows [start, stop) as a matrix that shares this one's storage."""
        return _Part(self, start, stop)

    def release(self) -> None:
        """Free what was read or dequantized; here, of the matrices that this one is composed of."""
        for whole in vars(self).values():
            if isinstance(whole, Matrix):
                whole.release()

    def materialize(self) -> None:
        """Dequantize it now if it is kept dequantized, else read what the kernels use."""
        if self.keeps:
            self.dequantize(0, 1)
        else:
            self.blocks()


class FileMatrix(Matrix):
    """A tensor of a file; a subclass says how to dequantize some of its rows."""

    def __init__(self, rows: int, columns: int, numbers: Numbers) -> None:
        super().__init__(rows, columns, numbers)
        self._kept: Tensor | None = None

    @abstractmethod
    def _fill(self, start: int, out: Tensor) -> None:
        """Dequantize rows from `start` on into `out`, float32 in main memory."""

    @abstractmethod
    def _forget(self) -> None:
        """Free the stored form; called when all of it is kept dequantized."""

    def dequantize(self, start: int, stop: int) -> Tensor:
        """See `Matrix.dequantize`; if the matrix is kept, only the first call does any work."""
        if not self.keeps:
            return self._read_rows(start, stop)
        if self._kept is None:
            self._kept = self._read_rows(0, self.rows)
            self._forget()
        return self._kept[start:stop]

    def release(self) -> None:
        """Free the stored form and the dequantized one; both are read again at the next use."""
        self._kept = None
        self._forget()

    def rows_at(self, ids: Tensor) -> Tensor:
        """See `Matrix.rows_at`; each distinct row is dequantized once."""
        if self._kept is not None:
            return self._kept.index_select(0, ids)  # see `Packed.rows_at`
        distinct, where = np.unique(ids.cpu().numpy(), return_inverse=True)
        rows = torch.cat([self._read_rows(row, row + 1) for row in distinct.tolist()])
        return rows.index_select(0, torch.from_numpy(where).to(rows.device))

    def _read_rows(self, start: int, stop: int) -> Tensor:
        # torch aligns memory to 64 bytes, NumPy to 16: a product's bits may depend on that
        out = torch.empty((stop - start, self.columns), dtype=torch.float32)
        for first in range(0, len(out), self.tile):
            self._fill(start + first, out[first : first + self.tile])
        return self._convert(out)

    def _convert(self, weights: Tensor) -> Tensor:
        """Round float32 weights in main memory, in place, and convert them to the arithmetic's dtype and device."""
        if self.numbers.rounded is not None:
            weights.copy_(weights.to(self.numbers.rounded))
        return weights.to(self.numbers.device, self.numbers.dtype)


class PackedMatrix(FileMatrix):
    """Blocks of one of ggml's types, read at first use and kept packed.

    scales: float32 factors on the weights, each for an equal share of the rows, in order.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        numbers: Numbers,
        type: QuantType,
        read: Callable[[], NDArray[np.uint8]],
        scales: Tensor | None = None,
    ) -> None:
        super().__init__(rows, columns, numbers)
        self._type = type
        self._scales = scales
        self._read = read
        self._row_bytes = columns // type.weights * type.block_bytes
        self._raw: NDArray[np.uint8] | None = None

    @property
    def keeps(self) -> bool:
        """False if kernels multiply with the packed blocks: reading those is faster than dequantized weights."""
        return self.numbers.keep and not self._has_kernels

    @property
    def _has_kernels(self) -> bool:
        return self.numbers.has_kernels and self._scales is None

    def blocks(self) -> Blocks | None:
        """The file's bytes, read at the first call."""
        return Blocks(self._type, self._whole(), self.columns) if self._has_kernels else None

    def rows_at(self, ids: Tensor) -> Tensor:
        """See `Matrix.rows_at`; all rows in one call, if the weights have no extra scales and are not kept."""
        if self.keeps or self._scales is not None:
            return super().rows_at(ids)
        # by NumPy: torch's indexing would wake its threads, which then spin on the cores that the kernels need
        raw = self._whole().reshape(self.rows, self._row_bytes)[ids.cpu().numpy()]
        out = torch.empty((len(ids), self.columns))
        dequantize_into(self._type, raw.reshape(-1), out.numpy().reshape(-1))
        return self._convert(out)

    def _whole(self) -> NDArray[np.uint8]:
        if self._raw is None:
            self._raw = self._read()
        return self._raw

    def _fill(self, start: int, out: Tensor) -> None:
        raw = self._whole()[start * self._row_bytes : (start + len(out)) * self._row_bytes]
        dequantize_into(self._type, raw, out.numpy().reshape(-1), threads=torch.get_num_threads())
        if self._scales is not None:
            share = self.rows // len(self._scales)
            out *= self._scales[torch.arange(start, start + len(out)) // share, None]

    def _forget(self) -> None:
        self._raw = None


class Floating(FileMatrix):
    """A float tensor of a safetensors file; `read` returns rows [start, stop) in the stored dtype.

    A matrix that is kept and that kernels multiply with is kept as stored; it is widened only if something else needs
    it.
    """

    def __init__(self, rows: int, columns: int, numbers: Numbers, read: Callable[[int, int], Tensor]) -> None:
        super().__init__(rows, columns, numbers)
        self._read = read
        self._stored: Tensor | None = None

    def _fill(self, start: int, out: Tensor) -> None:
        stop = start + len(out)
        out.copy_(self._read(start, stop) if self._stored is None else self._stored[start:stop])

    def blocks(self) -> Blocks | None:
        """The stored values, if they are kept."""
        if not (self.keeps and self.numbers.has_kernels and can_multiply(by_name("F32"), self.columns)):
            return None
        if self._stored is None:
            self._stored = self._read(0, self.rows).contiguous()
        raw = self._stored.view(-1).view(torch.uint8).numpy()
        return Blocks(by_name(STORED_NAMES[self._stored.dtype]), raw, self.columns)

    def materialize(self) -> None:
        """See `Matrix.materialize`; dequantizes only if the kernels cannot use the stored values."""
        if self.blocks() is None:
            super().materialize()

    def _forget(self) -> None:
        self._stored = None


class _Part(Matrix):
    def __init__(self, whole: Matrix, start: int, stop: int) -> None:
        super().__init__(stop - start, whole.columns, whole.numbers)
        self._whole = whole
        self._start = start

    def dequantize(self, start: int, stop: int) -> Tensor:
        return self._whole.dequantize(self._start + start, self._start + stop)

    @property
    def keeps(self) -> bool:
        """Whether the whole matrix is kept."""
        return self._whole.keeps

    def blocks(self) -> Blocks | None:
        """Its rows of the whole matrix's blocks."""
        blocks = self._whole.blocks()
        return None if blocks is None else blocks.part(self._start, self._start + self.rows)


class Rows(Matrix):
    """The rows of several matrices, concatenated."""

    def __init__(self, parts: Sequence[Matrix]) -> None:
        super().__init__(sum(part.rows for part in parts), parts[0].columns, parts[0].numbers)
        self.parts = parts

    def dequantize(self, start: int, stop: int) -> Tensor:
        """See `Matrix.dequantize`; only of the parts that the range touches."""
        found, before = [], 0
        for part in self.parts:
            first, last = max(start - before, 0), min(stop - before, part.rows)
            if first < last:
                found.append(part.dequantize(first, last))
            before += part.rows
        return torch.cat(found)


class Columns(Matrix):
    """Every `step`-th column of a matrix, as a row: for experts that a file stores as (in, out)."""

    def __init__(self, whole: Matrix, first: int, step: int, count: int) -> None:
        super().__init__(count, whole.rows, whole.numbers)
        self._whole, self._first, self._step = whole, first, step

    def dequantize(self, start: int, stop: int) -> Tensor:
        """See `Matrix.dequantize`; dequantizes the whole matrix, since its rows run the other way."""
        first, last = (self._first + self._step * place for place in (start, stop))
        return self._whole.dequantize(0, self._whole.rows)[:, first : last : self._step].T


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer: y = (x · Wᵀ + b) · s.

    weight: (out, in). bias, scale: (out,) or None. x: (…, in) in the arithmetic's dtype. finer: whether the CPU kernels
    compute it in `Mode.finer`.
    """

    weight: Matrix
    bias: Tensor | None = None
    scale: Tensor | None = None
    finer: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        (y,) = multiply_all(x, self)
        return y

    def exact(self) -> Linear:
        """Make this layer exact in every mode, and return it: a discrete choice must not depend on int8 rounding."""
        self.weight.numbers = replace(self.weight.numbers, mode=Mode.EXACT)
        return self

    def product(self) -> Product | None:
        """The kernel product of this layer, without its scale; None if kernels cannot compute it."""
        blocks = self.weight.blocks()
        if blocks is None or not can_multiply(blocks.type, blocks.columns):
            return None
        mode = self.weight.numbers.mode
        return Product(blocks, self.bias, mode.finer if self.finer else mode)

    def by_tiles(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out), before the scale, with dequantized weights: tile by tile, unless they are kept."""
        product = self.weight.times(x, self.bias)
        if product is not None:
            return product
        rows = self.weight.rows
        tile = rows if self.weight.keeps else self.weight.tile
        if tile >= rows:
            return functional.linear(x, self.weight.dequantize(0, rows), self.bias)
        y = x.new_empty((*x.shape[:-1], rows))
        for start in range(0, rows, tile):
            stop = min(start + tile, rows)
            bias = None if self.bias is None else self.bias[start:stop]
            y[..., start:stop] = functional.linear(x, self.weight.dequantize(start, stop), bias)
        return y


def multiply_all(x: Tensor, *linears: Linear) -> list[Tensor]:
    """Apply several layers to the same x, which is quantized for the kernels only once."""
    rows = x.numel() // x.shape[-1] if x.numel() else 0
    products = [linear.product() if rows else None for linear in linears]
    numbers = linears[0].weight.numbers
    ready = [product for product in products if product is not None]
    results: Iterator[Tensor] = iter(())
    if ready:
        flat = x.reshape(rows, x.shape[-1])
        results = iter(multiply(flat, ready, numbers.mode, ROUNDED_NAMES[numbers.rounded]))
    made = [
        linear.by_tiles(x) if product is None else next(results).reshape(*x.shape[:-1], linear.weight.rows)
        for linear, product in zip(linears, products, strict=True)
    ]
    return [y if linear.scale is None else y * linear.scale for y, linear in zip(made, linears, strict=True)]
