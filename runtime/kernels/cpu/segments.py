"""Record products with many matrices in one step: each multiplies its own segment of contiguous rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llorch.runtime.kernels.cpu.multiply import Product
from llorch.runtime.kernels.cpu.pool import Step, allocate_aligned
from llorch.runtime.kernels.cpu.products import GROUP, PRODUCT
from llorch.runtime.kernels.cpu.recorder import Floats, Recorder
from llorch.runtime.kernels.cpu.steps.segments import OWN_BYTES, SEGMENTS, segments_kernel
from llorch.runtime.kernels.cpu.tiles import COLUMNS, tile_rows

Operands = Mapping[int, dict[str, int]]
"""Number of int8 planes, 0 for float32 → the slots by which a product reads its columns."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Matrices of the same shape and type. stride: bytes from one to the next."""

    first: Product
    stride: int


@dataclass(frozen=True, slots=True)
class Results:
    """Where results go: an address, and strides in bytes.

    column: between columns of a segment. first: times the index of a segment's first column, its offset. matrix:
    between matrices.
    """

    address: int
    column: int
    first: int
    matrix: int = 0

    @classmethod
    def rows_of(cls, target: Floats) -> Results:
        """One row of `target` per column."""
        return cls(target.address, 4 * target.width, 4 * target.width)


class Segments:
    """Rows ordered by the `active` matrices that multiply them; a matrix's begin at a multiple of its kernels' columns.

    segments: address of `active` SEGMENT entries. rows: capacity in rows. few, many: segments are padded to a multiple
    of `few` rows if they have fewer than `least`, else of `many`.
    """

    def __init__(
        self, recorder: Recorder, active: int, rows: int, segments: int, stacks: Sequence[Stack]
    ) -> None:
        self.recorder, self.active, self.rows, self.segments = recorder, active, rows, segments
        self.few, self.many = recorder.columns.several, padding_multiple(recorder)
        self.least = max(recorder.columns.least_for_panels(stack.first) for stack in stacks)
        self._own = allocate_aligned(recorder.threads * OWN_BYTES)
        recorder.keep(self._own)

    def floats(self, name: str, width: int) -> Floats:
        """A buffer of this width for all rows."""
        return self.recorder.floats(name, width, self.rows)

    def multiply(self, operands: Operands, calls: Sequence[tuple[Stack, Results]]) -> None:
        """Record independent products of the same rows."""
        self.recorder.record_independent(
            [self._product(operands, stack, results) for stack, results in calls]
        )

    def _product(self, operands: Operands, stack: Stack, results: Results) -> Step:
        recorder, columns, blocks = self.recorder, self.recorder.columns, stack.first.blocks
        planes, by_rows = columns.planes(stack.first), columns.by_rows(stack.first)
        values = columns.values(stack.first, recorder.kept) | operands[planes]
        values |= {"y": results.address, "y_bytes": results.column}
        tile, by_panels = tile_rows(recorder.kernels.processor, blocks.columns, exact=not planes), by_rows
        if recorder.rows >= self.least:
            by_panels, tile, scratch = columns.panels(stack.first, recorder.threads, recorder.kept)
            values |= scratch
        table, tiles, each = (
            PRODUCT.fill(values),
            -(-blocks.rows // tile),
            row_bytes(blocks.columns, planes),
        )
        recorder.keep(table)
        slots = {
            "product": table.ctypes.data, "segments": self.segments, "tiles": tiles, "tile_rows": tile,
            "matrix_bytes": stack.stride, "y_matrix_bytes": results.matrix, "y_first_bytes": results.first,
            "x_bytes": each["x"], "scale_bytes": each["x_scales"], "least": self.least, "own": self._own[1],
            "by_rows": by_rows.address, "columns_by_rows": by_rows.columns,
            "by_panels": by_panels.address, "columns_by_panels": by_panels.columns,
        }  # fmt: skip
        kernel = recorder.kernels.small("segments", segments_kernel)
        return Step(kernel.address, SEGMENTS.fill(slots), self.active * tiles)


def padding_multiple(recorder: Recorder) -> int:
    """The largest multiple that segments are padded to."""
    return 1 if recorder.rows == 1 else COLUMNS


def row_bytes(width: int, planes: int) -> dict[str, int]:
    """Bytes per row of each part of an operand."""
    if not planes:
        return {"x": 4 * width, "x_scales": 0}
    scales = 4 * planes * (width // GROUP)
    return {"x": planes * width, "x_scales": scales, "x_sums32": scales, "x_sums16": 2 * scales}
