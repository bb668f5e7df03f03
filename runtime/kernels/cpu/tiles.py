"""Kernels for many columns of x at once: weights are unpacked into a panel that stays in the cache for all of them.

A panel holds `lanes` rows interleaved: four codes of each row, then the next four of each. One of its vectors times
four activations, broadcast to all lanes, gives four products for each row. After the codes come the groups' scales and
minima, a vector each for these rows. An exact panel has a float32 per weight instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from llvmlite import ir

from llorch.formats.quants import QuantType
from llorch.formats.quants import step as blocks_of_step
from llorch.formats.vector_code import BYTE, FLOAT, WORD, Block, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, THREAD
from llorch.runtime.kernels.cpu.dot import bytes_of, dot4
from llorch.runtime.kernels.cpu.emit import Emitter
from llorch.runtime.kernels.cpu.grouped import GroupedType, Run
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.products import (
    GROUP,
    LINE_BYTES,
    PRODUCT,
    rounded_weights,
    weights_by_16,
)

NAME = "product"

# Columns at a time: as many as have their sums in registers.
COLUMNS = 8
# Total size of a tile's panels: they stay in a core's L2 cache beside the activations.
TILE_BYTES = 1 << 18
MOST_PANELS = 4
# For exact panels: weights per iteration; and how many products are summed separately before that sum is added to the
# total, so that rounding grows with the number of parts, not of products.
UNROLLED, ADDED_APART = 4, 256


def tile_rows(processor: Processor, width: int, *, exact: bool) -> int:
    """Number of rows in one work item."""
    panels = TILE_BYTES // (processor.lanes * width * (4 if exact else 1))
    return processor.lanes * max(1, min(MOST_PANELS, panels))


def panel_bytes(processor: Processor, width: int, *, exact: bool) -> int:
    """Scratch memory of a thread for its tile, in whole cache lines: a vector across two lines costs twice."""
    a_row = 4 * width if exact else width + 2 * 4 * (width // 16)
    return tile_rows(processor, width, exact=exact) * a_row + 64


def tile_product(grouped: GroupedType, processor: Processor, planes: int) -> str:
    """The LLVM module of a quantized product; its items are tiles of rows, its table is that of `products`."""
    module = ir.Module(f"{grouped.type}-tile-{planes}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    return _tile(emit, _Codes(emit, grouped, planes))


def exact_tile_product(type: QuantType, processor: Processor, rounded: str | None) -> str:
    """The LLVM module of a float32 product, with weights as dequantized, or rounded once to "BF16" or "F16"."""
    module = ir.Module(f"{type}-tile-exact")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    return _tile(emit, _Floats(emit, type, rounded))


def _tile(emit: Emitter, panel: _Panel) -> str:
    lanes, rows = emit.processor.lanes, PRODUCT.read(emit, "rows")
    weights = PRODUCT.read(emit, "weights")
    most = emit.index(TILE_BYTES // (lanes * panel.weight_bytes))
    tile = emit.minimum(emit.index(MOST_PANELS), emit.wrap(emit.builder.udiv(most.ir, panel.width.ir)))
    tile = emit.less(tile, emit.index(1)).choose(emit.index(1), tile) * lanes
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        first = item * tile
        last = emit.minimum(first + tile, rows)
        with emit.loop(first, last, lanes) as row:
            panel.fill(weights, row, panel.place(row - first), emit.minimum(row + lanes, last))
        with (
            emit.loop(emit.index(0), PRODUCT.read(emit, "turns")) as turn,
            emit.loop(first, last, lanes) as row,
        ):
            sums = panel.sums(panel.place(row - first), turn * COLUMNS)
            panel.store(row, sums, turn, emit.minimum(row + lanes, last))
    emit.ret()
    return str(emit.module)


class _Panel(ABC):
    """A panel of `lanes` interleaved rows. weight_bytes: bytes per weight, without scales. size: bytes of the panel."""

    weight_bytes: int
    size: Value

    def __init__(self, emit: Emitter, planes: int) -> None:
        self.emit, self.planes, self.lanes = emit, planes, emit.processor.lanes
        self.width = PRODUCT.read(emit, "width")
        self.base = (
            PRODUCT.read(emit, "scratch") + PRODUCT.read(emit, "scratch_bytes") * emit.arguments[THREAD]
        )

    @abstractmethod
    def fill(self, weights: Value, row: Value, place: Value, last: Value) -> None:
        """Unpack rows from `row` up to `last`; unused lanes repeat the last row."""

    @abstractmethod
    def sums(self, place: Value, first: Value) -> list[Value]:
        """The sums for COLUMNS columns from `first` on, each a vector over the panel's rows."""

    def place(self, behind: Value) -> Value:
        """Address of the panel with the row that is `behind` rows after the tile's first."""
        number = self.emit.wrap(self.emit.builder.udiv(behind.ir, self.emit.index(self.lanes).ir))
        return self.base + number * self.size

    def row(self, weights: Value, number: Value, last: Value) -> Value:
        """Address of a row, or of the last one before `last` for those beyond."""
        return weights + self.emit.minimum(number, last - 1) * PRODUCT.read(self.emit, "row_bytes")

    def steps(self, taken: int) -> Value:
        """How many times `taken` weights fit in a row."""
        return self.emit.wrap(self.emit.builder.udiv(self.width.ir, self.emit.index(taken).ir))

    def store(self, row: Value, sums: list[Value], turn: Value, last: Value) -> None:
        """Sum the planes, add bias and residual, and store the results of a batch of columns for rows up to `last`."""
        emit, lanes, planes = self.emit, self.lanes, self.planes
        count = (last - row).narrow(32).spread(lanes)
        numbers = emit.constant(count.ir.type, list(range(lanes)))
        mask = emit.wrap(emit.builder.icmp_signed("<", numbers.ir, count.ir))
        bias = PRODUCT.read(emit, "bias")
        added = emit.variable(emit.zeros(lanes))
        added.value = emit.zeros(lanes)
        with emit.when(emit.less(emit.index(0), bias)):
            added.value = self._masked_load(bias + row * 4, mask)
        residual, result = PRODUCT.read(emit, "residual"), emit.variable(emit.zeros(lanes))
        for index in range(COLUMNS // planes):
            total = sums[index * planes]
            for plane in range(1, planes):
                total = total + sums[index * planes + plane]
            behind = (turn * (COLUMNS // planes) + index) * PRODUCT.read(emit, "y_bytes") + row * 4
            result.value = total + added.value
            with emit.when(emit.less(emit.index(0), residual)):
                factor = emit.load(PRODUCT.read(emit, "factor"), FLOAT)
                result.value = emit.fma(result.value, factor, self._masked_load(residual + behind, mask))
            self._masked_store(result.value, PRODUCT.read(emit, "y") + behind, mask)

    def _masked_load(self, address: Value, mask: Value) -> Value:
        emit, lanes = self.emit, self.lanes
        pointer, zeros = emit.wrap(emit.pointer(address)), emit.zeros(lanes)
        alignment = emit.constant(WORD, 4)
        return emit.call(f"llvm.masked.load.v{lanes}f32.p0", zeros.ir.type, pointer, alignment, mask, zeros)

    def _masked_store(self, value: Value, address: Value, mask: Value) -> None:
        emit = self.emit
        pointer, alignment = emit.wrap(emit.pointer(address)), emit.constant(WORD, 4)
        name = f"llvm.masked.store.v{self.lanes}f32.p0"
        emit.call(name, ir.VoidType(), value, pointer, alignment, mask)


class _Codes(_Panel):
    """A panel of codes, followed by the groups' scales, then their minima."""

    weight_bytes = 1

    def __init__(self, emit: Emitter, grouped: GroupedType, planes: int) -> None:
        super().__init__(emit, planes)
        self.grouped = grouped
        shift = 4 if grouped.group == 16 else 5
        self.groups = emit.wrap(emit.builder.lshr(self.width.ir, emit.index(shift).ir))
        self.size = self.width * self.lanes + self.groups * (8 * self.lanes)

    def fill(self, weights: Value, row: Value, place: Value, last: Value) -> None:
        """See `_Panel.fill`; unpacks a block of every row together, since storing single words was slower."""
        emit, type, group = self.emit, self.grouped.type, self.grouped.group
        bases = [self.row(weights, row + lane, last) for lane in range(self.lanes)]
        scales = place + self.width * self.lanes
        minima = scales + self.groups * (4 * self.lanes)
        # the next rows, in the order of memory
        ahead = weights + (row + self.lanes) * PRODUCT.read(emit, "row_bytes")
        a_step = type.block_bytes * self.lanes
        with emit.loop(emit.index(0), self.steps(type.weights)) as step:
            for line in range(0, a_step, LINE_BYTES):
                emit.prefetch(ahead + step * a_step, line)
            pointers = [emit.pointer(base + step * type.block_bytes) for base in bases]
            blocks = [Block(emit.builder, type, pointer, emit.processor.has) for pointer in pointers]
            of_scales, of_minima = self._scales(blocks)
            for index, words in enumerate(self._words(blocks)):
                emit.store(words, place + (step * type.weights + index * GROUP) * self.lanes)
            behind = step * (type.weights // group * 4 * self.lanes)
            emit.store(of_scales, scales + behind)
            emit.store(of_minima, minima + behind)

    def _words(self, blocks: list[Block]) -> list[Value]:
        """Codes of a block of each row, 32 weights at a time: four of every row, then the next four."""
        if self.grouped.by_words:
            together = _SideBySide(self.emit, self.grouped.type, blocks)
            return list(self.grouped.describe(Run([together])).codes)
        each = [self.grouped.describe(Run([block])).codes for block in blocks]
        return [_transpose([row.as_integers(32) for row in rows]) for rows in zip(*each, strict=True)]

    def _scales(self, blocks: list[Block]) -> tuple[Value, Value]:
        """Scales and minima of a block of each row: those of every row's first group, then of every second one."""
        if self.grouped.type.weights == GROUP:
            found = self.grouped.describe(Run(blocks))
            return found.scales, found.minima
        each = [self.grouped.describe(Run([block])) for block in blocks]
        return _transpose([one.scales for one in each]), _transpose([one.minima for one in each])

    def sums(self, place: Value, first: Value) -> list[Value]:
        emit, lanes, group = self.emit, self.lanes, self.grouped.group
        sums = [emit.variable(emit.zeros(lanes)) for _ in range(COLUMNS)]
        for each in sums:
            each.value = emit.zeros(lanes)
        scales = place + self.width * lanes
        minima = scales + self.groups * (4 * lanes)
        x = [PRODUCT.read(emit, "x") + (first + c) * self.width for c in range(COLUMNS)]
        x_scales = [
            PRODUCT.read(emit, "x_scales") + self._group(first + c, GROUP) * 4 for c in range(COLUMNS)
        ]
        x_sums = [
            PRODUCT.read(emit, f"x_sums{group}") + self._group(first + c, group) * 4 for c in range(COLUMNS)
        ]
        with emit.loop(emit.index(0), self.groups) as index:
            codes = place + index * (group * lanes)
            scale = emit.load(scales + index * (4 * lanes), FLOAT, lanes)
            minimum = emit.load(minima + index * (4 * lanes), FLOAT, lanes)
            integers = [emit.zeros(lanes, WORD) for _ in range(COLUMNS)]
            for four in range(group // 4):
                vector = emit.load(codes, BYTE, 4 * lanes, four * 4 * lanes)
                for c in range(COLUMNS):
                    word = emit.load(x[c] + index * group, WORD, offset=4 * four)
                    integers[c] = dot4(
                        emit, integers[c], vector, bytes_of(emit, word, lanes), self.grouped.bits
                    )
            half = 0 if group == GROUP else 1
            of_scale = emit.wrap(emit.builder.lshr(index.ir, emit.index(half).ir))
            for c in range(COLUMNS):
                factor = scale * emit.load(x_scales[c] + of_scale * 4, FLOAT)
                total = emit.fma(integers[c].signed_floats(), factor, sums[c].value)
                sum_of_x = emit.load(x_sums[c] + index * 4, FLOAT) * -1.0
                sums[c].value = emit.fma(sum_of_x, minimum, total)
        return [each.value for each in sums]

    def _group(self, column: Value, group: int) -> Value:
        """Number of groups of activations before a column."""
        shift = self.emit.index(4 if group == 16 else 5)
        return column * self.emit.wrap(self.emit.builder.lshr(self.width.ir, shift.ir))


class _Floats(_Panel):
    """A panel with a float32 per weight."""

    weight_bytes = 4

    def __init__(self, emit: Emitter, type: QuantType, rounded: str | None) -> None:
        super().__init__(emit, 1)
        self.type, self.rounded = type, rounded
        self.size = self.width * (4 * self.lanes)

    def fill(self, weights: Value, row: Value, place: Value, last: Value) -> None:
        """See `_Panel.fill`; goes weight by weight, which is slow and pays off only for many columns."""
        emit, taken = self.emit, self.type.weights * blocks_of_step(self.type)
        with (
            emit.loop(emit.index(0), emit.index(self.lanes)) as lane,
            emit.loop(emit.index(0), self.steps(taken)) as step,
        ):
            base = self.row(weights, row + lane, last)
            pointer = emit.pointer(base + step * (self.type.block_bytes * blocks_of_step(self.type)))
            vectors = weights_by_16(self.type, Block(emit.builder, self.type, pointer, emit.processor.has))
            at = place + step * (taken * 4 * self.lanes) + lane * 4
            for index, found in enumerate(vectors):
                found = rounded_weights(found, self.rounded)
                for each in range(found.lanes):
                    emit.store(found[each], at, (index * found.lanes + each) * 4 * self.lanes)

    def sums(self, place: Value, first: Value) -> list[Value]:
        emit, lanes = self.emit, self.lanes
        sums = [emit.variable(emit.zeros(lanes)) for _ in range(COLUMNS)]
        for each in sums:
            each.value = emit.zeros(lanes)
        x = [PRODUCT.read(emit, "x") + (first + c) * self.width * 4 for c in range(COLUMNS)]
        parts = [emit.variable(emit.zeros(lanes)) for _ in range(COLUMNS)]
        with emit.loop(emit.index(0), self.width, ADDED_APART) as begin:
            for part in parts:
                part.value = emit.zeros(lanes)
            with emit.loop(begin, emit.minimum(begin + ADDED_APART, self.width), UNROLLED) as weight:
                for ahead in range(UNROLLED):
                    column = emit.load(place + weight * (4 * lanes), FLOAT, lanes, ahead * 4 * lanes)
                    for of, part in zip(x, parts, strict=True):
                        number = emit.load(of + weight * 4, FLOAT, offset=4 * ahead)
                        part.value = emit.fma(number, column, part.value)
            for each, part in zip(sums, parts, strict=True):
                each.value = each.value + part.value
        return [each.value for each in sums]


class _SideBySide(Block):
    """Blocks of several rows presented as one, with interleaved bytes: a 32-bit word of every row, then the next.

    Scalar fields are those of the first block: only what is computed from the bytes is meaningful.
    """

    def __init__(self, emit: Emitter, type: QuantType, blocks: list[Block]) -> None:
        super().__init__(emit.builder, type, blocks[0].address, blocks[0].has)
        self._blocks = blocks

    def numbers(self, field: str, first: int = 0, count: int = 0) -> Value:
        """`count` bytes of every row, interleaved; for other fields, the first block's value."""
        rows = [block.numbers(field, first, count) for block in self._blocks]
        if not count or count % 4 or rows[0].element != BYTE:
            return rows[0]
        return _transpose([row.as_integers(32) for row in rows]).as_integers(8)


def _transpose(rows: list[Value]) -> Value:
    """Interleave: the first lane of every row, then the second of every row, and so on. rows: a power of two."""
    while len(rows) > 1:
        half = len(rows) // 2
        rows = [one.interleave(other) for one, other in zip(rows[:half], rows[half:], strict=True)]
    return rows[0]
