"""Records the steps of a program: names for kernels, memory for what lies between them, operands made ready once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llorch.runtime.kernels.cpu.arguments import Table, float_bits
from llorch.runtime.kernels.cpu.attention import ATTEND, attention_kernel
from llorch.runtime.kernels.cpu.library import Quantized, library, planes_of
from llorch.runtime.kernels.cpu.multiply import QUANTIZED_AT_ONCE, Product, grain
from llorch.runtime.kernels.cpu.pool import Program, Step, aligned, together
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.products import PRODUCT
from llorch.runtime.kernels.cpu.small_steps import (
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


class Floats:
    """Some float32 that steps read and write."""

    def __init__(self, count: int) -> None:
        memory, self.address = aligned(4 * -(-count // LANES) * LANES)
        self.values: NDArray[np.float32] = memory.view(np.float32)
        self.count = count


class Operand:
    """Rows of activations with what of them is in int8 already. planes: how many int8 planes → their slots."""

    def __init__(self, floats: Floats, width: int, rows: int = 1) -> None:
        self.floats, self.width, self.rows = floats, width, rows
        self.rooms: dict[int, Quantized] = {}

    def slots(self, planes: int, row: int = 0) -> dict[str, int]:
        """What a product with one of the rows reads."""
        if not planes:
            return {"x": self.floats.address + 4 * self.width * row}
        room = self.rooms[planes]
        parts: dict[str, NDArray[Any]] = {
            "x": room.q,
            "x_scales": room.scales,
            "x_sums16": room.sums16,
            "x_sums32": room.sums32,
        }
        return {name: part[row].ctypes.data for name, part in parts.items()}


class Recorder:
    """Steps for one token, in a numeric mode."""

    def __init__(self, mode: Mode, threads: int) -> None:
        self.mode, self.threads, self.kernels = mode, threads, library()
        self._steps: list[Step] = []
        self._kept: list[object] = []

    def planes(self, product: Product) -> int:
        """How many int8 planes of its operand a product reads."""
        return planes_of(product.blocks.type, self.mode)

    def program(self) -> Program:
        """What was recorded; its memory is kept as long as this."""
        return Program(self._steps)

    def floats(self, count: int) -> Floats:
        """Memory for so many numbers, zeros at first."""
        made = Floats(count)
        self._kept.append(made)
        return made

    def constant(self, values: Sequence[float] | NDArray[np.float32]) -> int:
        """The address of numbers that stay."""
        made = self.floats(len(values))
        made.values[: len(values)] = values
        return made.address

    def ready(self, operand: Operand, products: Sequence[Product]) -> None:
        """Makes int8 of an operand where these products read it so."""
        steps = []
        for planes in sorted({planes_of(product.blocks.type, self.mode) for product in products} - {0}):
            if planes not in operand.rooms:
                room = operand.rooms[planes] = Quantized.room(operand.rows, operand.width, planes)
                self._kept.append(room)
                kernel, table = self.kernels.quantize(planes), room.from_source(operand.floats.address)
                steps.append(Step(kernel.address, table, room.groups, QUANTIZED_AT_ONCE))
        self._steps += together(steps)

    def products(self, calls: Sequence[tuple[Product, dict[str, int]]]) -> None:
        """Products that do not need each other; each with the slots of its operand, its result and what is added."""
        steps = []
        for product, slots in calls:
            blocks = product.blocks
            values = slots | {
                "weights": blocks.raw.ctypes.data, "row_bytes": blocks.row_bytes, "rows": blocks.rows,
                "width": blocks.columns, "turns": 1,
            }  # fmt: skip
            if product.bias is not None:
                values["bias"] = product.bias.data_ptr()
            self._kept.append(product)
            kernel = self.kernels.product(blocks.type, self.mode, 1)
            steps.append(
                Step(kernel.address, PRODUCT.filled(values), blocks.rows, grain(blocks, self.threads))
            )
        self._steps += together(steps)

    def norm(
        self,
        kind: Literal["rms", "layer"],
        source: Floats,
        target: Floats,
        rows: int,
        width: int,
        **slots: int,
    ) -> None:
        """Rows of a width, normed one by one; slots: weight, weight_bytes, bias, eps."""
        values = {"source": source.address, "target": target.address, "width": width} | slots
        self._small(f"norm-{kind}", lambda processor: norm_kernel(processor, kind), NORM, values, rows, rows)

    def gate(self, activation: str, gate: Floats, up: Floats | None, target: Floats, count: int) -> None:
        """act(gate) · up of so many numbers."""
        values = {"gate": gate.address, "up": 0 if up is None else up.address, "target": target.address}
        self._small(
            f"gate-{activation}",
            lambda processor: gate_kernel(processor, activation),
            GATE,
            values,
            -(-count // LANES),
            VECTORS_AT_ONCE,
        )

    def add(self, source: Floats, target: Floats, factor: float) -> None:
        """target += factor · source."""
        values = {"source": source.address, "target": target.address, "factor": float_bits(factor)}
        self._small("add", add_kernel, ADD, values, -(-source.count // LANES), VECTORS_AT_ONCE)

    def rotate(self, pairs: Literal["interleaved", "halves"], items: int, slots: dict[str, int]) -> None:
        """Turns queries and keys, and stores keys and values."""
        self._small(
            f"rotate-{pairs}",
            lambda processor: rotate_kernel(processor, pairs),
            ROTATE,
            slots,
            items,
            -(-items // self.threads),
        )

    def attend(self, head_dim: int, heads: int, softcap: float | None, slots: dict[str, int]) -> None:
        """Attention of the token's queries over the cache."""
        name = f"attention-{head_dim}{'' if softcap is None else '-capped'}"
        if softcap is not None:
            slots = slots | {"softcap": float_bits(softcap)}
        capped = softcap is not None
        self._small(name, lambda p: attention_kernel(p, head_dim, capped=capped), ATTEND, slots, heads, 1)

    def route(self, slots: dict[str, int]) -> None:
        """Chooses experts by their scores."""
        self._small("route", route_kernel, ROUTE, slots, 1, 1)

    def _small(
        self,
        name: str,
        text: Callable[[Processor], str],
        table: Table,
        slots: dict[str, int],
        items: int,
        grain: int,
    ) -> None:
        kernel = self.kernels.small(name, text)
        self._steps.append(Step(kernel.address, table.filled(slots), items, grain))
