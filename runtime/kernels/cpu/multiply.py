"""y = W x + b on the CPU, in a numeric mode, directly from a matrix's packed blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llorch.formats.quants import QuantType
from llorch.runtime.kernels.cpu.library import Kernel, QuantizedRows, library, planes_of
from llorch.runtime.kernels.cpu.pool import Program, Step, allocate_aligned, independent, pool
from llorch.runtime.kernels.cpu.products import GROUP, PRODUCT
from llorch.runtime.kernels.cpu.tiles import COLUMNS, panel_bytes, tile_rows
from llorch.runtime.mode import Mode

# Columns that a product kernel takes at a time, if there are several; each has that many sums in registers.
SEVERAL = 4
# Number of columns, times planes, from which unpacking weights into panels pays: for types with 32 weights per block,
# for larger blocks, and in float32. Measured.
BY_PANELS_OF_32, BY_PANELS, BY_EXACT_PANELS = 5, 9, 48
# Bytes of weights that a thread takes at a time: small, so that threads finish together, but large beside the overhead.
GRAIN_BYTES = 1 << 15
QUANTIZED_AT_ONCE = 64  # groups of activations that a thread takes at a time


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of a matrix as packed blocks. raw: contiguous, whole rows. columns: weights per row."""

    type: QuantType
    raw: NDArray[np.uint8]
    columns: int

    @property
    def row_bytes(self) -> int:
        """Bytes per row."""
        return self.columns // self.type.weights * self.type.block_bytes

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.raw.size // self.row_bytes

    def part(self, start: int, stop: int) -> Blocks:
        """Rows [start, stop), sharing memory."""
        return Blocks(self.type, self.raw[start * self.row_bytes : stop * self.row_bytes], self.columns)


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix to multiply with, and its bias. mode: overrides the model's if not None."""

    blocks: Blocks
    bias: Tensor | None = None
    mode: Mode | None = None

    def part(self, start: int, stop: int) -> Product:
        """The product with rows [start, stop)."""
        bias = None if self.bias is None else self.bias[start:stop]
        return Product(self.blocks.part(start, stop), bias, self.mode)


def can_multiply(type: QuantType, columns: int) -> bool:
    """Whether kernels exist for this type and row length; otherwise weights are dequantized for torch."""
    return type.vectors is not None and columns % max(GROUP, type.weights) == 0


def multiply(x: Tensor, products: Sequence[Product], mode: Mode, rounded: str | None = None) -> list[Tensor]:
    """x · Wᵀ + b for several matrices of the same width: float32 (rows of x, rows of W) each.

    x: (rows, width), float32. rounded: "BF16" or "F16", a type that weights are rounded to first; products are then
    exact whatever the mode.
    """
    rows, width = x.shape
    columns, threads = Columns(rows, mode, rounded), pool(torch.get_num_threads())
    memory = torch.zeros((columns.padded, width))
    memory[:rows] = x
    kept: list[object] = []
    operands, ready = {0: {"x": memory.data_ptr()}}, list[Step]()
    for planes in sorted({columns.planes(product) for product in products} - {0}):
        quantized = QuantizedRows.zeros(columns.padded, width, planes)
        kept.append(quantized)
        operands[planes] = quantized.as_operand()
        ready.append(columns.quantize(quantized, memory.data_ptr()))
    steps, results = list[Step](), list[Tensor]()
    for product in products:
        y = torch.empty((columns.padded, product.blocks.rows))
        slots = operands[columns.planes(product)] | {"y": y.data_ptr()}
        steps.append(columns.step(product, slots, threads.threads, kept))
        results.append(y[:rows])
    threads.run(Program([*independent(ready), *independent(steps)]))
    return results


class Columns:
    """A batch of activations, which are columns for the kernels: their forms, and which kernel multiplies with them.

    padded: number of columns rounded up to the kernels' needs; buffers for operands and results have that many.
    """

    def __init__(self, rows: int, mode: Mode, rounded: str | None = None) -> None:
        self.mode, self.rounded, self.kernels = mode, rounded, library()
        planes = 1 if rounded else max(1, mode.planes)
        self.rows, self.several = rows, 1 if rows == 1 else SEVERAL // planes
        # products of one operand may differ in planes, and in whether they use panels
        fill = COLUMNS if planes * rows >= BY_PANELS_OF_32 else self.several
        self.padded = -(-rows // fill) * fill
        self._scratch: dict[int, NDArray[np.uint8]] = {}

    def planes(self, product: Product) -> int:
        """Number of int8 planes that a product reads; 0 for float32."""
        return 0 if self.rounded else planes_of(product.blocks.type, product.mode or self.mode)

    def by_panels(self, product: Product) -> bool:
        """Whether a product unpacks its weights into panels."""
        return self.rows >= self.least_for_panels(product)

    def least_for_panels(self, product: Product) -> int:
        """Smallest number of rows of activations for which panels pay."""
        planes = self.planes(product)
        if not planes:
            return BY_EXACT_PANELS
        return -(-(BY_PANELS_OF_32 if product.blocks.type.weights == GROUP else BY_PANELS) // planes)

    def quantize(self, quantized: QuantizedRows, source: int) -> Step:
        """The step that quantizes float32 from an address."""
        planes = quantized.q.shape[1]
        return Step(
            self.kernels.quantize(planes).address,
            quantized.from_source(source),
            quantized.groups,
            QUANTIZED_AT_ONCE,
        )

    def step(self, product: Product, slots: dict[str, int], threads: int, kept: list[object]) -> Step:
        """The step for one matrix. slots: operand, result and addends. kept: collects objects to keep alive."""
        blocks, values = product.blocks, self.values(product, kept) | slots
        if not self.by_panels(product):
            kernel = self.by_rows(product)
            table = PRODUCT.fill(values | {"turns": self.padded // kernel.columns})
            return Step(kernel.address, table, blocks.rows, grain(blocks, threads))
        kernel, tile, scratch = self.panels(product, threads, kept)
        table = PRODUCT.fill(values | scratch | {"turns": self.padded // kernel.columns})
        return Step(kernel.address, table, -(-blocks.rows // tile))

    def values(self, product: Product, kept: list[object]) -> dict[str, int]:
        """The slots of the matrix itself, which is kept alive."""
        blocks = product.blocks
        kept.append(product)
        return {
            "weights": blocks.raw.ctypes.data, "row_bytes": blocks.row_bytes, "width": blocks.columns,
            "rows": blocks.rows, "y_bytes": 4 * blocks.rows,
            "bias": 0 if product.bias is None else product.bias.data_ptr(),
        }  # fmt: skip

    def by_rows(self, product: Product) -> Kernel:
        """The kernel whose items are rows."""
        several = min(self.several, SEVERAL // max(1, self.planes(product)))
        return self.kernels.product(product.blocks.type, product.mode or self.mode, several, self.rounded)

    def panels(
        self, product: Product, threads: int, kept: list[object]
    ) -> tuple[Kernel, int, dict[str, int]]:
        """The kernel whose items are tiles, the rows per tile, and the slots of its scratch memory."""
        blocks = product.blocks
        processor, exact = self.kernels.processor, not self.planes(product)
        size = panel_bytes(processor, blocks.columns, exact=exact)
        if size not in self._scratch:  # shared by products: a thread works on one at a time
            self._scratch[size] = allocate_aligned(threads * size)[0]
        scratch = self._scratch[size]
        kept.append(scratch)
        return (
            self.kernels.tile(blocks.type, product.mode or self.mode, self.rounded),
            tile_rows(processor, blocks.columns, exact=exact),
            {"scratch": scratch.ctypes.data, "scratch_bytes": size},
        )


def grain(blocks: Blocks, threads: int) -> int:
    """Rows that a thread takes at a time."""
    share = -(-blocks.rows // (4 * threads))
    return max(1, min(share, max(8, GRAIN_BYTES // blocks.row_bytes)))
