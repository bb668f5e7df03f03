"""Record the products of a mixture of experts: each token's row is copied to the rows of its experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from llorch.runtime.kernels.cpu.arguments import float_bits
from llorch.runtime.kernels.cpu.recorder import Floats, Recorder
from llorch.runtime.kernels.cpu.segments import Operands, Segments, Stack, padding_multiple, row_bytes
from llorch.runtime.kernels.cpu.steps import routing
from llorch.runtime.kernels.cpu.steps.segments import SEGMENT


class Routed(Segments):
    """Rows for all (token, expert) pairs, `used` per token, ordered by expert."""

    def __init__(self, recorder: Recorder, experts: int, used: int, stacks: Sequence[Stack]) -> None:
        self.experts, self.used, self.pairs = experts, used, recorder.rows * used
        active = min(self.pairs, experts)
        rows = self.pairs + active * (padding_multiple(recorder) - 1)
        segments = recorder.integers("segments", len(SEGMENT.names) * active)
        super().__init__(recorder, active, rows, segments, stacks)
        self._weights = recorder.floats("experts' weights", used).address
        self._chosen, self._places = (recorder.integers(name, self.pairs) for name in ("chosen", "places"))

    def route(
        self,
        scores: Floats,
        kind: Literal["softmax", "sigmoid"],
        bias: int,
        *,
        renormalised: bool,
        scale: float,
    ) -> None:
        """Record choosing every token's experts by its scores, which are overwritten, and assigning rows to them.

        bias: address of the bias for the choice only, or 0.
        """
        slots = {
            "scores": scores.address, "worth": self.recorder.floats("worth", self.experts).address, "bias": bias,
            "experts": self.experts, "chosen": self._chosen, "weights": self._weights, "used": self.used,
            "renormalised": int(renormalised), "scale": float_bits(scale),
        }  # fmt: skip
        self.recorder.small(
            f"route-{kind}", lambda p: routing.route_kernel(p, kind), routing.ROUTE, slots, self.recorder.rows
        )
        slots = {
            "chosen": self._chosen, "pairs": self.pairs, "experts": self.experts, "places": self._places,
            "segments": self.segments, "active": self.active, "counts": self.recorder.integers("counts", self.experts),
            "least": self.least, "few": self.few, "many": self.many,
        }  # fmt: skip
        self.recorder.small("group", routing.group_kernel, routing.GROUP, slots, 1)

    def spread(self, operand: Floats, stacks: Sequence[Stack]) -> Operands:
        """Record copying the tokens' rows, once per chosen expert, as operands of products with these matrices."""
        recorder, found = self.recorder, {}
        operands = recorder.operands(operand, [stack.first for stack in stacks])
        for planes in {recorder.columns.planes(stack.first) for stack in stacks}:
            found[planes] = {"x": self.floats("of experts", operand.width).address}
            if planes:
                found[planes] = recorder.quantized_rows(operand, planes, self.rows).as_operand()
            each = row_bytes(operand.width, planes)
            for name, target in found[planes].items():
                slots = {
                    "source": operands[planes][name], "target": target, "row_bytes": each[name],
                    "places": self._places, "used": self.used,
                }  # fmt: skip
                recorder.small("spread", routing.spread_kernel, routing.SPREAD, slots, self.pairs)
        return found

    def combine(self, source: Floats, target: Floats) -> None:
        """Record target = Σ weight · source over every token's experts."""
        slots = {
            "source": source.address, "target": target.address, "places": self._places, "width": source.width,
            "weights": self._weights, "used": self.used,
        }  # fmt: skip
        self.recorder.small("combine", routing.combine_kernel, routing.COMBINE, slots, self.recorder.rows)
