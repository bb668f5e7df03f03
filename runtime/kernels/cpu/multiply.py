"""y = W x + b on this processor, in a numeric mode, from a matrix's blocks as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llorch.formats.quants import QuantType
from llorch.runtime.kernels.cpu.library import Kernel, Library, Quantized, library, planes_of
from llorch.runtime.kernels.cpu.pool import Program, Step, pool
from llorch.runtime.kernels.cpu.products import GROUP, PRODUCT
from llorch.runtime.kernels.cpu.tiles import COLUMNS, panel_bytes, tile_rows
from llorch.runtime.mode import Mode

# Columns that a product's kernel takes at a time, where there are several; each makes that many sums in registers.
SEVERAL = 4
# From so many rows of activations on, exact products are of weights dequantized by tiles: then `torch.mm` wins.
EXACT_BY_TILES = 9
# From so many columns of int8 on, weights are laid out anew for all of them.
BY_PANELS = 12
# Bytes of weights that a thread takes at a time: small, so that threads end together; large beside the taking.
GRAIN_BYTES = 1 << 15


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


def can_multiply(type: QuantType, columns: int, rows: int, mode: Mode) -> bool:
    """Whether there are kernels for so many rows of activations; where not, weights are dequantized."""
    if type.vectors is None or columns % max(GROUP, type.weights):
        return False
    return bool(planes_of(type, mode)) or rows < EXACT_BY_TILES


def multiply(x: Tensor, products: Sequence[Product], mode: Mode, rounded: str | None = None) -> list[Tensor]:
    """x · Wᵀ + b for some matrices of the same width, each in (rows of x, rows of W) of float32.

    x: (rows, width) of float32. rounded: "BF16" or "F16", to which every weight is rounded before, or None; the
    products are then exact whatever the mode.
    """
    x = x.contiguous()
    rows, width = x.shape
    padded = _padded(rows, products, mode, rounded)
    memory = torch.zeros((padded, width))
    memory[:rows] = x
    kernels = library()
    steps, operands, kept = list[Step](), dict[int, dict[str, int]](), list[object]()
    for planes in sorted({0 if rounded else planes_of(p.blocks.type, mode) for p in products}):
        if not planes:
            operands[0] = {"x": memory.data_ptr()}
            continue
        room = Quantized.room(padded, width, planes)
        kept.append(room)
        steps.append(Step(kernels.quantize(planes).address, room.from_source(memory.data_ptr()), padded))
        operands[planes] = room.as_operand()
    results = []
    threads = pool(torch.get_num_threads())
    for product in products:
        y = torch.empty((padded, product.blocks.rows))
        planes = 0 if rounded else planes_of(product.blocks.type, mode)
        values = operands[planes] | {"y": y.data_ptr(), "y_bytes": 4 * product.blocks.rows}
        if product.bias is not None:
            values["bias"] = product.bias.data_ptr()
        steps.append(_step(kernels, product.blocks, values, mode, padded, rounded, threads.threads, kept))
        results.append(y[:rows])
    threads.run(Program(steps))
    return results


def _padded(rows: int, products: Sequence[Product], mode: Mode, rounded: str | None) -> int:
    """Rows of activations with those that fill the kernels' columns."""
    planes = 0 if rounded else max(planes_of(product.blocks.type, mode) for product in products)
    at_a_time = COLUMNS if rows * planes >= BY_PANELS else SEVERAL if rows * max(planes, 1) > planes + 1 else 1
    at_a_time = max(1, at_a_time // max(planes, 1)) if rows > 1 else 1
    return -(-rows // at_a_time) * at_a_time


def _step(
    kernels: Library,
    blocks: Blocks,
    values: dict[str, int],
    mode: Mode,
    rows: int,
    rounded: str | None,
    threads: int,
    kept: list[object],
) -> Step:
    planes = 0 if rounded else planes_of(blocks.type, mode)
    values = values | {
        "weights": blocks.raw.ctypes.data, "row_bytes": blocks.row_bytes, "width": blocks.columns,
        "rows": blocks.rows,
    }  # fmt: skip
    if planes and rows * planes >= BY_PANELS:
        kernel = kernels.tile(blocks.type, mode)
        tile = tile_rows(kernels.processor, blocks.columns)
        size = panel_bytes(kernels.processor, blocks.columns)
        scratch = np.empty(threads * size, np.uint8)
        kept.append(scratch)
        turns = rows * planes // COLUMNS
        table = PRODUCT.filled(values | {"turns": turns, "scratch": scratch.ctypes.data, "scratch_bytes": size})
        return Step(kernel.address, table, -(-blocks.rows // tile), 1)
    kernel = _column_kernel(kernels, blocks.type, mode, rows, planes, rounded)
    table = PRODUCT.filled(values | {"turns": rows // kernel.columns})
    return Step(kernel.address, table, blocks.rows, grain(blocks, threads))


def _column_kernel(
    kernels: Library, type: QuantType, mode: Mode, rows: int, planes: int, rounded: str | None
) -> Kernel:
    several = SEVERAL // max(planes, 1)
    return kernels.product(type, mode, several if rows % several == 0 and rows > 1 else 1, rounded)


def grain(blocks: Blocks, threads: int) -> int:
    """Rows that a thread takes at a time."""
    share = -(-blocks.rows // (4 * threads))
    return max(1, min(share, max(8, GRAIN_BYTES // blocks.row_bytes)))
