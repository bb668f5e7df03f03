"""Records the steps of a program: names for kernels, memory for what lies between them, operands made ready once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llorch.runtime.kernels.cpu.arguments import Table, float_bits
from llorch.runtime.kernels.cpu.library import QuantizedRows, library
from llorch.runtime.kernels.cpu.multiply import Columns, Product
from llorch.runtime.kernels.cpu.pool import Program, Step, allocate_aligned, together
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

VECTORS_AT_ONCE = 64  # of 16 numbers, in steps that are little work
QUERIES_AT_ONCE = 1  # each reads all keys and values that it sees


class Floats:
    """Rows of float32 that steps read and write, one after the other, and zeros up to a whole vector.

    rows: those that are computed. padded: as many as there is memory for.
    """

    def __init__(self, rows: int, width: int, padded: int = 0) -> None:
        self.rows, self.width, self.padded = rows, width, max(rows, padded)
        memory, self.address = allocate_aligned(4 * -(-self.padded * width // LANES) * LANES)
        self.values: NDArray[np.float32] = memory.view(np.float32)

    @property
    def vectors(self) -> int:
        """How many of 16 numbers hold all rows."""
        return -(-self.rows * self.width // LANES)


class Recorder:
    """Steps for `rows` tokens at a time, in a numeric mode. together: each of a request of its own."""

    def __init__(self, mode: Mode, threads: int, rows: int, *, together: bool = False) -> None:
        self.rows, self.threads, self.together, self.kernels = rows, threads, together, library()
        self.columns = Columns(rows, mode)
        self._steps: list[Step] = []
        self.kept: list[object] = []
        self._named: dict[tuple[str, int, int], Floats] = {}
        self._rooms: dict[tuple[int, int, int], QuantizedRows] = {}

    def program(self) -> Program:
        """What was recorded; its memory is kept as long as this."""
        return Program(self._steps)

    def floats(self, name: str, width: int, rows: int = 0) -> Floats:
        """Memory for rows of a width, by default one a token; the same for the same, so that layers share it."""
        key = name, width, rows
        if key not in self._named:
            self._named[key] = Floats(rows, width) if rows else Floats(self.rows, width, self.columns.padded)
        return self._named[key]

    def constant(self, values: Sequence[float] | NDArray[np.float32]) -> int:
        """The address of numbers that stay."""
        made = Floats(1, len(values))
        made.values[: len(values)] = values
        self.kept.append(made)
        return made.address

    def integers(self, name: str, count: int) -> int:
        """Memory for 64-bit integers, each as long as two float32; the same for the same name and count."""
        return self.floats(name, 2 * count, 1).address

    def indices(self, values: Sequence[int]) -> int:
        """The address of 64-bit integers that stay."""
        made = np.array(values, np.int64)
        self.kept.append(made)
        return made.ctypes.data

    def keep(self, memory: object) -> None:
        """What steps point to is to live as long as they."""
        self.kept.append(memory)

    def multiply(self, operand: Floats, calls: Sequence[tuple[Product, dict[str, int]]]) -> None:
        """Products with the same operand that do not need each other; each with where it goes and what is added."""
        columns, operands = (
            self.columns,
            self.operands(operand, [product for product, _ in calls]),
        )
        self.record_together(
            [
                columns.step(product, operands[columns.planes(product)] | slots, self.threads, self.kept)
                for product, slots in calls
            ]
        )

    def operands(self, operand: Floats, products: Iterable[Product]) -> dict[int, dict[str, int]]:
        """Rows as these products read them: by the number of int8 planes, 0 for float32, their slots."""
        ready, found = [], {0: {"x": operand.address}}
        for planes in sorted(set(map(self.columns.planes, products)) - {0}):
            room = self.room(operand, planes, operand.padded)
            ready.append(self.columns.quantize(room, operand.address))
            found[planes] = room.as_operand()
        self.record_together(ready)
        return found

    def room(self, operand: Floats, planes: int, rows: int) -> QuantizedRows:
        """Memory for int8 of so many of an operand's rows, the same whenever it is asked for."""
        key = operand.address, planes, rows
        if key not in self._rooms:
            self._rooms[key] = QuantizedRows.room(rows, operand.width, planes)
        return self._rooms[key]

    def record_together(self, steps: Sequence[Step]) -> None:
        """Steps that do not need each other's results."""
        self._steps += together(steps)

    def norm(
        self, kind: Literal["rms", "layer"], source: Floats, target: Floats, width: int, **slots: int
    ) -> None:
        """Every row in parts of a width, normed one by one; slots: weight, period, bias, eps."""
        values = {"source": source.address, "target": target.address, "width": width, "period": 1} | slots
        items = source.rows * source.width // width
        self.small(f"norm-{kind}", lambda processor: norm_kernel(processor, kind), NORM, values, items, 4)

    def gate(self, activation: str, gate: Floats, up: Floats | None) -> None:
        """gate = act(gate) · up."""
        values = {"gate": gate.address, "up": 0 if up is None else up.address, "target": gate.address}
        text = f"gate-{activation}"
        self.small(text, lambda p: gate_kernel(p, activation), GATE, values, gate.vectors, VECTORS_AT_ONCE)

    def add(self, source: Floats, target: Floats, factor: float) -> None:
        """target += factor · source."""
        values = {"source": source.address, "target": target.address, "factor": float_bits(factor)}
        self.small("add", add_kernel, ADD, values, source.vectors, VECTORS_AT_ONCE)

    def add_rows(self, source: Floats, factors: Floats, target: Floats) -> None:
        """target += factor · source, with a factor for every row."""
        slots = {
            "source": source.address, "target": target.address, "before": target.address, "width": source.width,
            "places": self.indices(range(self.rows)), "weights": factors.address, "used": 1,
        }  # fmt: skip
        self.small("combine", combine_kernel, COMBINE, slots, self.rows)

    def rotate(self, pairs: Literal["interleaved", "halves"], heads: int, slots: dict[str, int]) -> None:
        """Turns queries and keys, and stores keys and values; heads: of a token, of all three."""
        share = -(-heads // self.threads)
        text = f"rotate-{pairs}"
        self.small(text, lambda p: rotate_kernel(p, pairs), ROTATE, slots, self.rows * heads, share)

    def attend(self, head_dim: int, heads: int, slots: dict[str, int], latent: int | None = None) -> None:
        """Attention of the queries, each over its own request's cache; the scores capped where slots name a softcap."""
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
        """A kernel by its name, made of a text when it is first needed."""
        kernel = self.kernels.small(name, text)
        self._steps.append(Step(kernel.address, table.fill(slots), items, grain))
