"""The kernels of this process: compiled at first use, and checked against their definition before any result."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants import QuantType, decode
from llorch.formats.vector_code import Code, machine_code, this_machine
from llorch.runtime.errors import KernelMismatch
from llorch.runtime.kernels.cpu import products, tiles
from llorch.runtime.kernels.cpu.grouped import GROUPED
from llorch.runtime.kernels.cpu.processor import Processor, processor_of
from llorch.runtime.kernels.cpu.products import GROUP, PRODUCT, exact_product, quantized_product
from llorch.runtime.kernels.cpu.steps import activations, small_steps
from llorch.runtime.kernels.cpu.steps.activations import QUANTIZE, quantize_kernel
from llorch.runtime.mode import Mode

Call = Callable[[int, int, int, int], None]

# Largest allowed difference between a kernel and its definition in float64, relative to the results' root mean square:
# the rounding of float32 sums. A wrong scale, code or lane gives a thousand times that.
ALLOWED = 1e-4
# 832 = 3 · 256 + 64 covers every step for types of 32 weights; K types use 768
TRIED_ROWS, TRIED_WEIGHTS = 5, 832


@dataclass(frozen=True, slots=True)
class Kernel:
    """A compiled kernel. columns: activation columns that it multiplies at a time."""

    name: str
    address: int
    columns: int
    code: Code

    @property
    def call(self) -> Call:
        """The kernel as a Python function."""
        call: Any = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(self.address)
        return call  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Activations as int8. q: (rows, planes, width); scales and sums per 32 (or 16) values of the width."""

    q: NDArray[np.int8]
    scales: NDArray[np.float32]
    sums16: NDArray[np.float32]
    sums32: NDArray[np.float32]

    @classmethod
    def zeros(cls, rows: int, width: int, planes: int) -> QuantizedRows:
        """Allocate zeros for this many rows."""
        shape = rows, planes
        return cls(
            np.zeros((*shape, width), np.int8),
            np.zeros((*shape, width // GROUP), np.float32),
            np.zeros((*shape, width // 16), np.float32),
            np.zeros((*shape, width // GROUP), np.float32),
        )

    @property
    def groups(self) -> int:
        """Number of groups of 32 values, in all rows."""
        return self.q[:, 0].size // GROUP

    def from_source(self, source: int) -> NDArray[np.int64]:
        """The table for the kernel that quantizes float32 from an address into this."""
        values = {
            "source": source,
            "width": self.q.shape[-1],
            "q": self.q.ctypes.data,
            "scales": self.scales.ctypes.data,
        }
        return QUANTIZE.fill(values | {"sums16": self.sums16.ctypes.data, "sums32": self.sums32.ctypes.data})

    def as_operand(self) -> dict[str, int]:
        """The slots through which a product reads this."""
        return {
            "x": self.q.ctypes.data,
            "x_scales": self.scales.ctypes.data,
            "x_sums16": self.sums16.ctypes.data,
            "x_sums32": self.sums32.ctypes.data,
        }

    def numbers(self) -> NDArray[np.float64]:
        """The represented values: scaled and summed over planes, (rows, width)."""
        rows, planes, width = self.q.shape
        groups = self.q.reshape(rows, planes, -1, GROUP).astype(np.float64) * self.scales[..., None]
        numbers: NDArray[np.float64] = groups.sum(1).reshape(rows, width)
        return numbers


class Library:
    """The kernels for one processor. Thread-safe."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self._lock = threading.RLock()
        self._compiled: dict[str, Kernel] = {}

    @property
    def compiled(self) -> Sequence[str]:
        """Names of the kernels compiled so far, each checked against its definition."""
        return tuple(self._compiled)

    def quantize(self, planes: int) -> Kernel:
        """The kernel that quantizes float32 to int8 planes; its items are groups of 32."""
        return self._kernel(
            f"quantize-{planes}",
            activations.NAME,
            1,
            lambda: quantize_kernel(self.processor, planes),
            lambda kernel: self._try_quantize(kernel, planes),
        )

    def product(self, type: QuantType, mode: Mode, columns: int, rounded: str | None = None) -> Kernel:
        """W x for a few columns, in int8 if the mode and the type allow it, else in float32; its items are rows."""
        planes = planes_of(type, mode) if rounded is None else 0
        name = f"product-{type}-{columns}-{planes or rounded or 'exact'}"

        def text() -> str:
            if planes:
                return quantized_product(GROUPED[type.name], self.processor, columns, planes)
            return exact_product(type, self.processor, columns, rounded)

        return self._kernel(
            name,
            products.NAME,
            columns,
            text,
            lambda kernel: self._try_product(kernel, type, planes, rounded),
        )

    def tile(self, type: QuantType, mode: Mode, rounded: str | None = None) -> Kernel:
        """W x for many columns; its items are tiles of rows."""
        planes = planes_of(type, mode) if rounded is None else 0

        def text() -> str:
            if planes:
                return tiles.tile_product(GROUPED[type.name], self.processor, planes)
            return tiles.exact_tile_product(type, self.processor, rounded)

        return self._kernel(
            f"tile-{type}-{planes or rounded or 'exact'}",
            tiles.NAME,
            tiles.COLUMNS // max(1, planes),
            text,
            lambda kernel: self._try_product(kernel, type, planes, rounded),
        )

    def small(self, name: str, text: Callable[[Processor], str]) -> Kernel:
        """A kernel between products, by name; checked by tests of the whole decode step, not here."""
        return self._kernel(name, small_steps.NAME, 1, lambda: text(self.processor), lambda _kernel: 0.0)

    def _kernel(
        self,
        name: str,
        symbol: str,
        columns: int,
        text: Callable[[], str],
        compare: Callable[[Kernel], float],
    ) -> Kernel:
        with self._lock:
            found = self._compiled.get(name)
            if found is None:
                full = f"{name}-{self.processor.instructions}"
                code = machine_code(full, text(), self.processor.target)
                found = Kernel(full, code.address(symbol), columns, code)
                apart = compare(found)
                if not apart <= ALLOWED:
                    raise KernelMismatch(found.name, apart, ALLOWED)
                self._compiled[name] = found
            return found

    def _try_quantize(self, kernel: Kernel, planes: int) -> float:
        """Check the planes' sum: its largest error relative to rounding, scaled so that ALLOWED is the limit."""
        x = _numbers(3, TRIED_WEIGHTS)
        quantized = QuantizedRows.zeros(len(x), x.shape[1], planes)
        table = quantized.from_source(x.ctypes.data)
        kernel.call(table.ctypes.data, 0, quantized.groups, 0)
        largest = np.abs(x.reshape(len(x), -1, GROUP)).max(-1, keepdims=True)
        step = largest.astype(np.float64) / 127 / 254 ** (planes - 1)
        apart = np.abs(quantized.numbers() - x).reshape(len(x), -1, GROUP) / step
        whole = quantized.q.reshape(len(x), planes, -1, GROUP).sum(-1) * quantized.scales
        sums = (
            np.abs(whole - quantized.sums32).max()
            + np.abs(quantized.sums16.reshape(len(x), planes, -1, 2).sum(-1) - quantized.sums32).max()
        )
        return max(float(apart.max()) / 0.502 * ALLOWED, float(sums))

    def _try_product(self, kernel: Kernel, type: QuantType, planes: int, rounded: str | None) -> float:
        width = TRIED_WEIGHTS // type.weights * type.weights // GROUP * GROUP
        x, raw = _numbers(kernel.columns, width), sample(type, TRIED_ROWS * width // type.weights)
        weights = _round(decode(type, raw), rounded).astype(np.float64).reshape(TRIED_ROWS, width)
        y = np.zeros((kernel.columns, TRIED_ROWS), np.float32)
        values = {"weights": raw.ctypes.data, "row_bytes": raw.size // TRIED_ROWS, "width": width, "turns": 1}
        values["rows"] = TRIED_ROWS
        scratch = np.zeros(tiles.panel_bytes(self.processor, width, exact=not planes), np.uint8)
        values |= {"scratch": scratch.ctypes.data, "scratch_bytes": scratch.size}
        if planes:
            quantized = QuantizedRows.zeros(len(x), x.shape[1], planes)
            table = quantized.from_source(x.ctypes.data)
            self.quantize(planes).call(table.ctypes.data, 0, quantized.groups, 0)
            operand, expected = quantized.as_operand(), quantized.numbers() @ weights.T
        else:
            operand, expected = {"x": x.ctypes.data}, x.astype(np.float64) @ weights.T
        table = PRODUCT.fill({**values, **operand, "y": y.ctypes.data, "y_bytes": 4 * TRIED_ROWS})
        items = 1 if kernel.name.startswith("tile") else TRIED_ROWS
        kernel.call(table.ctypes.data, 0, items, 0)
        return float(np.abs(y - expected).max() / np.sqrt((expected**2).mean()))


def planes_of(type: QuantType, mode: Mode) -> int:
    """Number of int8 planes in a product with this type's weights; 0 if it is float32."""
    return mode.planes if type.name in GROUPED else 0


@cache
def library() -> Library:
    """The kernels for the processor that this process runs on."""
    return Library(processor_of(this_machine()))


def sample(type: QuantType, blocks: int) -> NDArray[np.uint8]:
    """Random blocks with scales of ordinary size; always the same for a type."""
    generator = np.random.default_rng(type.id)
    raw = generator.integers(0, 256, (blocks, type.block_bytes), dtype=np.uint8)
    fields = raw.view(type.layout).reshape(-1)
    names = type.layout.names
    assert names is not None
    for name in names:
        kind = type.layout[name]
        shape = (blocks, *kind.shape)
        if kind.base.kind == "f":
            fields[name] = generator.normal(0, 0.01, shape).astype(kind.base)
        elif type.name in ("MXFP4", "NVFP4") and name in ("e", "d"):
            fields[name] = generator.integers(110, 120, shape)
        elif type.name == "BF16":
            fields[name] = generator.normal(0, 0.01, shape).astype(np.float32).view(np.uint32) >> 16
    if type.name == "IQ1_M":  # its half-float scale is spread over the upper nibbles of its scales
        fields["scales"] &= 0x2FFF
    return np.ascontiguousarray(raw).reshape(-1)


def _numbers(rows: int, width: int) -> NDArray[np.float32]:
    drawn: NDArray[np.float32] = np.random.default_rng(rows).normal(0, 1, (rows, width)).astype(np.float32)
    return drawn


def _round(weights: NDArray[np.float32], to: str | None) -> NDArray[np.float32]:
    if to is None:
        return weights
    if to == "F16":
        return weights.astype(np.float16).astype(np.float32)
    bits = weights.view(np.uint32).astype(np.uint64)
    nearest: NDArray[np.uint32] = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32)
    return nearest.view(np.float32)
