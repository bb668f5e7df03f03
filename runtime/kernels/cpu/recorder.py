"""Records the steps of a program: names for kernels, memory for what lies between them, operands made ready once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llorch.runtime.kernels.cpu.arguments import Table, float_bits
from llorch.runtime.kernels.cpu.library import Quantized, library
from llorch.runtime.kernels.cpu.multiply import Columns, Product
from llorch.runtime.kernels.cpu.pool import Program, Step, aligned, together
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.attention import ATTEND, attention_kernel
from llorch.runtime.kernels.cpu.steps.small_steps import (
    ADD,
    GATE,
    LANES,
    NORM,
    ROTATE,
    ROUTE,
    add_kernel,
    gate_kernel,
    norm_kernel,
    rotate_kernel,
    route_kernel,
)
from llorch.runtime.mode import Mode

VECTORS_AT_ONCE = 64  # of 16 numbers, in steps that are little work
QUERIES_AT_ONCE = 1  # each reads all keys and values that it sees


class Floats:
    """Rows of float32 that steps read and write, one after the other, and zeros up to a whole vector."""

    def __init__(self, rows: int, width: int) -> None:
        memory, self.address = aligned(4 * -(-rows * width // LANES) * LANES)
        self.values: NDArray[np.float32] = memory.view(np.float32)
        self.rows, self.width = rows, width


class Recorder:
    """Steps for `rows` tokens at a time, in a numeric mode. together: each of a request of its own."""

    def __init__(self, mode: Mode, threads: int, rows: int, *, together: bool = False) -> None:
        self.rows, self.threads, self.together, self.kernels = rows, threads, together, library()
        self._columns = Columns(rows, mode)
        self._steps: list[Step] = []
        self._kept: list[object] = []
        self._named: dict[tuple[str, int], Floats] = {}
        self._rooms: dict[tuple[int, int, int, int], Quantized] = {}

    def program(self) -> Program:
        """What was recorded; its memory is kept as long as this."""
        return Program(self._steps)

    def floats(self, name: str, width: int) -> Floats:
        """Memory for rows of a width; the same for the same name and width, so that layers share it."""
        found = self._named.get((name, width))
        if found is None:
            found = self._named[name, width] = Floats(self._columns.padded, width)
        return found

    def constant(self, values: Sequence[float] | NDArray[np.float32]) -> int:
        """The address of numbers that stay."""
        made = Floats(1, len(values))
        made.values[: len(values)] = values
        self._kept.append(made)
        return made.address

    def indices(self, values: Sequence[int]) -> int:
        """The address of 64-bit integers that stay."""
        made = np.array(values, np.int64)
        self._kept.append(made)
        return made.ctypes.data

    def multiply(self, operand: Floats, calls: Sequence[tuple[Product, dict[str, int]]]) -> None:
        """Products with the same operand that do not need each other; each with where it goes and what is added."""
        columns, sources = self._columns, {0: {"x": operand.address}}
        ready = []
        for planes in sorted({columns.planes(product.blocks.type) for product, _ in calls} - {0}):
            room = self._room(operand, planes, columns.padded, operand.width)
            ready.append(columns.quantize(room, operand.address))
            sources[planes] = room.as_operand()
        steps = [
            columns.step(
                product, sources[columns.planes(product.blocks.type)] | slots, self.threads, self._kept
            )
            for product, slots in calls
        ]
        self._steps += [*together(ready), *together(steps)]

    def ready(self, operand: Floats, rows: int, product: Product) -> None:
        """Of one token: makes int8 of a row's equal parts where a product reads them so."""
        planes = self._columns.planes(product.blocks.type)
        if planes:
            room = self._room(operand, planes, rows, operand.width // rows)
            self._steps.append(self._columns.quantize(room, operand.address))

    def multiply_row(
        self, operand: Floats, rows: int, row: int, product: Product, slots: dict[str, int]
    ) -> None:
        """The product with one of the parts that were made ready."""
        planes, width = self._columns.planes(product.blocks.type), operand.width // rows
        source = {"x": operand.address + 4 * width * row}
        if planes:
            room = self._room(operand, planes, rows, width)
            parts: dict[str, NDArray[Any]] = {
                "x": room.q, "x_scales": room.scales, "x_sums16": room.sums16, "x_sums32": room.sums32
            }  # fmt: skip
            source = {name: part[row].ctypes.data for name, part in parts.items()}
        self._steps.append(self._columns.step(product, source | slots, self.threads, self._kept))

    def _room(self, operand: Floats, planes: int, rows: int, width: int) -> Quantized:
        """Memory for int8 of an operand, the same whenever it is asked for."""
        key = operand.address, planes, rows, width
        found = self._rooms.get(key)
        if found is None:
            found = self._rooms[key] = Quantized.room(rows, width, planes)
        return found

    def norm(
        self, kind: Literal["rms", "layer"], source: Floats, target: Floats, width: int, **slots: int
    ) -> None:
        """Every row in parts of a width, normed one by one; slots: weight, period, bias, eps."""
        values = {"source": source.address, "target": target.address, "width": width, "period": 1} | slots
        items = self.rows * source.width // width
        self.small(f"norm-{kind}", lambda processor: norm_kernel(processor, kind), NORM, values, items, 4)

    def gate(self, activation: str, gate: Floats, up: Floats | None) -> None:
        """gate = act(gate) · up."""
        values = {"gate": gate.address, "up": 0 if up is None else up.address, "target": gate.address}
        text = f"gate-{activation}"
        self.small(
            text, lambda p: gate_kernel(p, activation), GATE, values, self._vectors(gate), VECTORS_AT_ONCE
        )

    def add(self, source: Floats, target: Floats, factor: float) -> None:
        """target += factor · source."""
        values = {"source": source.address, "target": target.address, "factor": float_bits(factor)}
        self.small("add", add_kernel, ADD, values, self._vectors(source), VECTORS_AT_ONCE)

    def _vectors(self, floats: Floats) -> int:
        return -(-self.rows * floats.width // LANES)

    def rotate(self, pairs: Literal["interleaved", "halves"], heads: int, slots: dict[str, int]) -> None:
        """Turns queries and keys, and stores keys and values; heads: of a token, of all three."""
        share = -(-heads // self.threads)
        text = f"rotate-{pairs}"
        self.small(text, lambda p: rotate_kernel(p, pairs), ROTATE, slots, self.rows * heads, share)

    def attend(self, head_dim: int, heads: int, softcap: float | None, slots: dict[str, int]) -> None:
        """Attention of the queries, each over its own request's cache."""
        name = f"attention-{head_dim}{'' if softcap is None else '-capped'}"
        if softcap is not None:
            slots = slots | {"softcap": float_bits(softcap)}
        capped = softcap is not None
        self.small(
            name,
            lambda p: attention_kernel(p, head_dim, capped=capped),
            ATTEND,
            slots | {"count": self.rows, "together": int(self.together)},
            self.rows * heads,
            QUERIES_AT_ONCE,
        )

    def route(self, slots: dict[str, int]) -> None:
        """Chooses experts by their scores."""
        self.small("route", route_kernel, ROUTE, slots, 1, 1)

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
        self._steps.append(Step(kernel.address, table.filled(slots), items, grain))
