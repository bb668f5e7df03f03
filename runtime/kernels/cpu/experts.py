"""A mixture's products, recorded as steps: rows stand in the order of their experts, those of one beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llorch.formats.quants import QuantType
from llorch.runtime.kernels.cpu.arguments import float_bits
from llorch.runtime.kernels.cpu.multiply import Product
from llorch.runtime.kernels.cpu.pool import Step, aligned
from llorch.runtime.kernels.cpu.products import GROUP as WEIGHTS_OF_SCALE
from llorch.runtime.kernels.cpu.products import PRODUCT
from llorch.runtime.kernels.cpu.recorder import Floats, Recorder
from llorch.runtime.kernels.cpu.steps import routing
from llorch.runtime.kernels.cpu.tiles import COLUMNS, tile_rows

Operands = Mapping[int, dict[str, int]]
"""By the number of int8 planes, 0 for float32: the slots by which a product reads its columns."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Matrices of all experts, alike in shape and type. stride: bytes from one to the next."""

    first: Product
    stride: int

    @property
    def type(self) -> QuantType:
        """Of their weights."""
        return self.first.blocks.type


class Routed:
    """Rows for a token and one of its `used` experts, in the experts' order.

    rows: as many as there is memory for; each expert's begin with a kernel's column, so that some may be unused.
    """

    def __init__(self, recorder: Recorder, experts: int, used: int, stacks: Sequence[Stack]) -> None:
        self.recorder, self.experts, self.used = recorder, experts, used
        self.pairs = recorder.rows * used
        self.active = min(self.pairs, experts)
        self._least = max(recorder.columns.least_for_panels(stack.type) for stack in stacks)
        self._few, self._many = recorder.columns.several, 1 if recorder.rows == 1 else COLUMNS
        self.rows = self.pairs + self.active * (self._many - 1)
        self._own = aligned(recorder.threads * routing.OWN_BYTES)
        self.weights = recorder.floats("experts' weights", used)
        self._chosen, self._places, self._segments = (
            self._indices(name, count)
            for name, count in (
                ("chosen", self.pairs), ("places", self.pairs), ("segments", len(routing.SEGMENT.names) * self.active)
            )
        )  # fmt: skip
        recorder.keep(self._own)

    def floats(self, name: str, width: int) -> Floats:
        """Memory for a row of a width for each token and expert."""
        return self.recorder.floats(name, width, self.rows)

    def route(self, scores: Floats, *, renormalised: bool, scale: float) -> None:
        """Chooses every token's experts by its scores, which are not kept, and finds places for them."""
        slots = {
            "scores": scores.address, "experts": self.experts, "chosen": self._chosen, "weights": self.weights.address,
            "used": self.used, "renormalised": int(renormalised), "scale": float_bits(scale),
        }  # fmt: skip
        self.recorder.small("route", routing.route_kernel, routing.ROUTE, slots, self.recorder.rows)
        slots = {
            "chosen": self._chosen, "pairs": self.pairs, "experts": self.experts, "places": self._places,
            "segments": self._segments, "active": self.active, "counts": self._indices("counts", self.experts),
            "least": self._least, "few": self._few, "many": self._many,
        }  # fmt: skip
        self.recorder.small("group", routing.group_kernel, routing.GROUP, slots, 1)

    def spread(self, operand: Floats, stacks: Sequence[Stack]) -> Operands:
        """Tokens' rows as operands of products with these matrices, a copy for each of a token's experts."""
        recorder, found = self.recorder, {}
        types = [stack.type for stack in stacks]
        for planes, source in recorder.operands(operand, types).items():
            if planes in map(recorder.columns.planes, types):
                found[planes] = (
                    recorder.room(operand, planes, self.rows).as_operand()
                    if planes
                    else {"x": self.floats("of experts", operand.width).address}
                )
                row_bytes = _row_bytes(operand.width, planes)
                for name, target in found[planes].items():
                    slots = {
                        "source": source[name], "target": target, "row_bytes": row_bytes[name],
                        "places": self._places, "used": self.used,
                    }  # fmt: skip
                    recorder.small("spread", routing.spread_kernel, routing.SPREAD, slots, self.pairs)
        return found

    def multiply(self, operands: Operands, calls: Sequence[tuple[Stack, Floats]]) -> None:
        """Products with the same rows that do not need each other, each into memory of its own."""
        self.recorder.record_together([self._product(operands, stack, target) for stack, target in calls])

    def combine(self, source: Floats, target: Floats) -> None:
        """target = Σ weight · source, of every token's experts."""
        slots = {
            "source": source.address, "target": target.address, "places": self._places, "width": source.width,
            "weights": self.weights.address, "used": self.used,
        }  # fmt: skip
        self.recorder.small("combine", routing.combine_kernel, routing.COMBINE, slots, self.recorder.rows)

    def _product(self, operands: Operands, stack: Stack, target: Floats) -> Step:
        recorder, columns, blocks = self.recorder, self.recorder.columns, stack.first.blocks
        planes, by_rows = columns.planes(stack.type), columns.by_rows(stack.type)
        values = columns.values(stack.first, recorder.kept) | operands[planes] | {"y": target.address}
        tile, by_panels = tile_rows(recorder.kernels.processor, blocks.columns, exact=not planes), by_rows
        if recorder.rows >= self._least:
            by_panels, tile, scratch = columns.panels(blocks, recorder.threads, recorder.kept)
            values |= scratch
        table, tiles = PRODUCT.filled(values), -(-blocks.rows // tile)
        recorder.keep(table)
        row_bytes = _row_bytes(blocks.columns, planes)
        slots = {
            "product": table.ctypes.data, "segments": self._segments, "tiles": tiles, "tile_rows": tile,
            "expert_bytes": stack.stride, "x_bytes": row_bytes["x"], "scale_bytes": row_bytes["x_scales"],
            "least": self._least, "own": self._own[1],
            "by_rows": by_rows.address, "columns_by_rows": by_rows.columns,
            "by_panels": by_panels.address, "columns_by_panels": by_panels.columns,
        }  # fmt: skip
        kernel = recorder.kernels.small("experts", routing.experts_kernel)
        return Step(kernel.address, routing.EXPERTS.filled(slots), self.active * tiles)

    def _indices(self, name: str, count: int) -> int:
        """Memory for 64-bit indices, each as long as two float32."""
        return self.recorder.floats(name, 2 * count, 1).address


def _row_bytes(width: int, planes: int) -> dict[str, int]:
    """From one row to the next, of what a product reads of an operand."""
    if not planes:
        return {"x": 4 * width, "x_scales": 0}
    scales = 4 * planes * (width // WEIGHTS_OF_SCALE)
    return {"x": planes * width, "x_scales": scales, "x_sums32": scales, "x_sums16": 2 * scales}
