"""y = W x + b on this processor, in a numeric mode, from a matrix's blocks as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llorch.formats.quants import QuantType
from llorch.runtime.kernels.cpu.library import Quantized, library, planes_of
from llorch.runtime.kernels.cpu.pool import Program, Step, pool, together
from llorch.runtime.kernels.cpu.products import GROUP, PRODUCT
from llorch.runtime.kernels.cpu.tiles import COLUMNS, panel_bytes, tile_rows
from llorch.runtime.mode import Mode

# Columns that a product's kernel takes at a time, where there are several; each makes that many sums in registers.
SEVERAL = 4
# From so many columns on, weights are laid out anew for all of them.
BY_PANELS = 12
# Bytes of weights that a thread takes at a time: small, so that threads end together; large beside the taking.
GRAIN_BYTES = 1 << 15
QUANTIZED_AT_ONCE = 64  # groups of activations


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of a matrix as blocks in memory. raw: contiguous, whole rows. columns: weights of a row."""

    type: QuantType
    raw: NDArray[np.uint8]
    columns: int

    @property
    def row_bytes(self) -> int:
        """From one row to the next."""
        return self.columns // self.type.weights * self.type.block_bytes

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.raw.size // self.row_bytes

    def part(self, start: int, stop: int) -> Blocks:
        """Rows [start, stop), in the same memory."""
        return Blocks(self.type, self.raw[start * self.row_bytes : stop * self.row_bytes], self.columns)


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix to multiply with, and the bias of its rows."""

    blocks: Blocks
    bias: Tensor | None = None


def can_multiply(type: QuantType, columns: int) -> bool:
    """Whether there are kernels for a type and rows of so many weights; where not, weights are dequantized for torch."""
    return type.vectors is not None and columns % max(GROUP, type.weights) == 0


def multiply(x: Tensor, products: Sequence[Product], mode: Mode, rounded: str | None = None) -> list[Tensor]:
    """x · Wᵀ + b for some matrices of the same width, each in (rows of x, rows of W) of float32.

    x: (rows, width) of float32. rounded: "BF16" or "F16", to which every weight is rounded before, or None; the
    products are then exact whatever the mode.
    """
    rows, width = x.shape
    shared = _Columns(rows, mode, rounded)
    memory = torch.zeros((shared.padded, width))
    memory[:rows] = x
    steps, kept = list[Step](), list[object]()
    ready = shared.steps(memory, products)
    results = []
    threads = pool(torch.get_num_threads())
    for product in products:
        y = torch.empty((shared.padded, product.blocks.rows))
        values = {"y": y.data_ptr(), "y_bytes": 4 * product.blocks.rows}
        if product.bias is not None:
            values["bias"] = product.bias.data_ptr()
        steps.append(shared.step(product.blocks, values, threads.threads, kept))
        results.append(y[:rows])
    threads.run(Program([*together(ready), *together(steps)]))
    return results


class _Columns:
    """Rows of activations, columns to the kernels: how many of which form, and which kernel multiplies with them."""

    def __init__(self, rows: int, mode: Mode, rounded: str | None) -> None:
        self.mode, self.rounded, self.kernels = mode, rounded, library()
        planes = 1 if rounded else max(1, mode.planes)
        self.by_panels = planes * rows >= BY_PANELS
        # with those that fill the kernels' columns
        self.several = 1 if rows == 1 else SEVERAL // planes
        fill = (
            COLUMNS if self.by_panels else self.several
        )  # an exact product of the same x takes one plane's columns
        self.padded = -(-rows // fill) * fill
        self.operands: dict[int, dict[str, int]] = {}
        self.rooms: list[Quantized] = []

    def planes(self, type: QuantType) -> int:
        return 0 if self.rounded else planes_of(type, self.mode)

    def steps(self, memory: Tensor, products: Sequence[Product]) -> list[Step]:
        """What makes the activations ready for these products."""
        steps = []
        for planes in sorted({self.planes(product.blocks.type) for product in products}):
            if not planes:
                self.operands[0] = {"x": memory.data_ptr()}
                continue
            room = Quantized.room(self.padded, memory.shape[1], planes)
            self.rooms.append(room)
            self.operands[planes] = room.as_operand()
            kernel = self.kernels.quantize(planes)
            steps.append(
                Step(kernel.address, room.from_source(memory.data_ptr()), room.groups, QUANTIZED_AT_ONCE)
            )
        return steps

    def step(self, blocks: Blocks, values: dict[str, int], threads: int, kept: list[object]) -> Step:
        """The product with one matrix."""
        planes = self.planes(blocks.type)
        values = values | self.operands[planes] | {
            "weights": blocks.raw.ctypes.data, "row_bytes": blocks.row_bytes, "width": blocks.columns,
            "rows": blocks.rows,
        }  # fmt: skip
        if self.by_panels:
            processor, exact = self.kernels.processor, not planes
            kernel = self.kernels.tile(blocks.type, self.mode, self.rounded)
            tile = tile_rows(processor, blocks.columns, exact=exact)
            size = panel_bytes(processor, blocks.columns, exact=exact)
            scratch = np.empty(threads * size, np.uint8)
            kept.append(scratch)
            values |= {"scratch": scratch.ctypes.data, "scratch_bytes": size}
            table = PRODUCT.filled(values | {"turns": self.padded // kernel.columns})
            return Step(kernel.address, table, -(-blocks.rows // tile))
        kernel = self.kernels.product(blocks.type, self.mode, self.several, self.rounded)
        table = PRODUCT.filled(values | {"turns": self.padded // self.several})
        return Step(kernel.address, table, blocks.rows, grain(blocks, threads))


def grain(blocks: Blocks, threads: int) -> int:
    """Rows that a thread takes at a time."""
    share = -(-blocks.rows // (4 * threads))
    return max(1, min(share, max(8, GRAIN_BYTES // blocks.row_bytes)))
