"""Record the steps of a program: kernels by name, buffers between them, and operands that are quantized only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llorch.runtime.kernels.cpu.arguments import Table, float_bits
from llorch.runtime.kernels.cpu.library import QuantizedRows, library
from llorch.runtime.kernels.cpu.multiply import Columns, Product
from llorch.runtime.kernels.cpu.pool import Program, Step, allocate_aligned, independent
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.attention import ATTEND, attention_kernel
from llorch.runtime.kernels.cpu.steps.routing import COMBINE, combine_kernel
from llorch.runtime.kernels.cpu.steps.small_steps import (
    ADD,
    GATE,
    LANES,
    NORM,
    ROTATE,
    add_kernel,
    gate_kernel,
    norm_kernel,
    rotate_kernel,
)
from llorch.runtime.mode import Mode

VECTORS_AT_ONCE = 64  # of 16 values, in steps that are little work
QUERIES_AT_ONCE = 1  # each reads all keys and values that it sees


class Floats:
    """A buffer for rows of float32, contiguous, zero-padded to a whole vector.

    rows: number of rows that are computed. padded: number of rows that there is memory for.
    """

    def __init__(self, rows: int, width: int, padded: int = 0) -> None:
        self.rows, self.width, self.padded = rows, width, max(rows, padded)
        memory, self.address = allocate_aligned(4 * -(-self.padded * width // LANES) * LANES)
        self.values: NDArray[np.float32] = memory.view(np.float32)

    @property
    def vectors(self) -> int:
        """Number of vectors of 16 values that hold all rows."""
        return -(-self.rows * self.width // LANES)


class Recorder:
    """Records steps for `rows` tokens in a numeric mode. together: whether each belongs to a request of its own."""

    def __init__(self, mode: Mode, threads: int, rows: int, *, together: bool = False) -> None:
        self.rows, self.threads, self.together, self.kernels = rows, threads, together, library()
        self.columns = Columns(rows, mode)
        self._steps: list[Step] = []
        self.kept: list[object] = []
        self._named: dict[tuple[str, int, int], Floats] = {}
        self._quantized: dict[tuple[int, int, int], QuantizedRows] = {}

    def program(self) -> Program:
        """The recorded program. It is valid as long as this recorder is kept."""
        return Program(self._steps)

    def floats(self, name: str, width: int, rows: int = 0) -> Floats:
        """A buffer for rows of this width, by default one per token; equal arguments share one, as layers do."""
        key = name, width, rows
        if key not in self._named:
            self._named[key] = Floats(rows, width) if rows else Floats(self.rows, width, self.columns.padded)
        return self._named[key]

    def constant(self, values: Sequence[float] | NDArray[np.float32]) -> int:
        """Copy constants into memory that stays; return their address."""
        made = Floats(1, len(values))
        made.values[: len(values)] = values
        self.kept.append(made)
        return made.address

    def integers(self, name: str, count: int) -> int:
        """Address of a buffer for 64-bit integers; equal arguments give the same buffer."""
        return self.floats(name, 2 * count, 1).address

    def indices(self, values: Sequence[int]) -> int:
        """Copy 64-bit integers into memory that stays; return their address."""
        made = np.array(values, np.int64)
        self.kept.append(made)
        return made.ctypes.data

    def keep(self, memory: object) -> None:
        """Keep memory alive that steps point to."""
        self.kept.append(memory)

    def multiply(self, operand: Floats, calls: Sequence[tuple[Product, dict[str, int]]]) -> None:
        """Record independent products of one operand, each with the slots for its result and addends."""
        columns, operands = (
            self.columns,
            self.operands(operand, [product for product, _ in calls]),
        )
        self.record_independent(
            [
                columns.step(product, operands[columns.planes(product)] | slots, self.threads, self.kept)
                for product, slots in calls
            ]
        )

    def operands(self, operand: Floats, products: Iterable[Product]) -> dict[int, dict[str, int]]:
        """Record quantizing an operand for these products; return its slots by number of int8 planes, 0 for float32."""
        ready, found = [], {0: {"x": operand.address}}
        for planes in sorted(set(map(self.columns.planes, products)) - {0}):
            quantized = self.quantized_rows(operand, planes, operand.padded)
            ready.append(self.columns.quantize(quantized, operand.address))
            found[planes] = quantized.as_operand()
        self.record_independent(ready)
        return found

    def quantized_rows(self, operand: Floats, planes: int, rows: int) -> QuantizedRows:
        """The buffer for this many of an operand's rows as int8; equal arguments give the same buffer."""
        key = operand.address, planes, rows
        if key not in self._quantized:
            self._quantized[key] = QuantizedRows.zeros(rows, operand.width, planes)
        return self._quantized[key]

    def record_independent(self, steps: Sequence[Step]) -> None:
        """Record steps that are independent of each other."""
        self._steps += independent(steps)

    def norm(
        self, kind: Literal["rms", "layer"], source: Floats, target: Floats, width: int, **slots: int
    ) -> None:
        """Record a norm of each `width` consecutive values. slots: weight, period, bias, eps."""
        values = {"source": source.address, "target": target.address, "width": width, "period": 1} | slots
        items = source.rows * source.width // width
        self.small(f"norm-{kind}", lambda processor: norm_kernel(processor, kind), NORM, values, items, 4)

    def gate(self, activation: str, gate: Floats, up: Floats | None) -> None:
        """Record gate = act(gate) · up, or act(gate) without up."""
        values = {"gate": gate.address, "up": 0 if up is None else up.address, "target": gate.address}
        text = f"gate-{activation}"
        self.small(text, lambda p: gate_kernel(p, activation), GATE, values, gate.vectors, VECTORS_AT_ONCE)

    def add(self, source: Floats, target: Floats, factor: float) -> None:
        """Record target += factor · source."""
        values = {"source": source.address, "target": target.address, "factor": float_bits(factor)}
        self.small("add", add_kernel, ADD, values, source.vectors, VECTORS_AT_ONCE)

    def add_rows(self, source: Floats, factors: Floats, target: Floats) -> None:
        """Record target += factor · source, with a factor per row."""
        slots = {
            "source": source.address, "target": target.address, "before": target.address, "width": source.width,
            "places": self.indices(range(self.rows)), "weights": factors.address, "used": 1,
        }  # fmt: skip
        self.small("combine", combine_kernel, COMBINE, slots, self.rows)

    def rotate(self, pairs: Literal["interleaved", "halves"], heads: int, slots: dict[str, int]) -> None:
        """Record RoPE on queries and keys, and storing keys and values in the cache. heads: of q, k and v together."""
        share = -(-heads // self.threads)
        text = f"rotate-{pairs}"
        self.small(text, lambda p: rotate_kernel(p, pairs), ROTATE, slots, self.rows * heads, share)

    def attend(self, head_dim: int, heads: int, slots: dict[str, int], latent: int | None = None) -> None:
        """Record attention of each query over its request's cache; scores are capped if slots include a softcap."""
        capped = "softcap" in slots
        self.small(
            f"attention-{head_dim}{'-capped' if capped else ''}{'' if latent is None else f'-latent-{latent}'}",
            lambda p: attention_kernel(p, head_dim, capped=capped, latent=latent),
            ATTEND,
            slots | {"count": self.rows, "together": int(self.together)},
            self.rows * heads,
            QUERIES_AT_ONCE,
        )

    def small(
        self,
        name: str,
        text: Callable[[Processor], str],
        table: Table,
        slots: dict[str, int],
        items: int,
        grain: int = 1,
    ) -> None:
        """Record a step with a kernel by name; `text` generates its code when it is first needed."""
        kernel = self.kernels.small(name, text)
        self._steps.append(Step(kernel.address, table.fill(slots), items, grain))
