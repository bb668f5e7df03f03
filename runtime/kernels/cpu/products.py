"""Kernels for y = W x from packed blocks, row by row; each block is unpacked once for a few columns of x.

A row is one stream through memory. Several rows at once are slower if the weights come from memory, because the
processor's prefetcher then follows none of the streams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from llorch.formats.quants import QuantType, step
from llorch.formats.vector_code import BYTE, FLOAT, Block, CodedWeights, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, Table
from llorch.runtime.kernels.cpu.dot import dot4
from llorch.runtime.kernels.cpu.emit import Emitter, Variable
from llorch.runtime.kernels.cpu.grouped import GroupedType, Groups, Run
from llorch.runtime.kernels.cpu.processor import Processor

NAME = "product"

# weights, row_bytes: address of the first row, and bytes per row. width: weights per row.
# x, x_scales, x_sums16, x_sums32: quantized columns (`activations`), or x alone: columns of float32.
# y, y_bytes: address of the first column's results, and bytes per column.
# bias: address of float32, one per row, or 0. residual: address of addends, laid out as y, or 0; factor: address of a
# float32 by which the result is multiplied first. turns: batches of columns. scratch, scratch_bytes: memory per thread.
PRODUCT = Table(
    "weights", "row_bytes", "rows", "width", "x", "x_scales", "x_sums16", "x_sums32", "y", "y_bytes", "bias",
    "residual", "factor", "turns", "scratch", "scratch_bytes",
)  # fmt: skip

GROUP = 32  # weights, and activations under one scale

# How far ahead to prefetch; nearer had no effect, measured. Float32 products do not prefetch: the processor does so by
# itself, and for float16 prefetching cost up to 0.7 of the speed.
AHEAD_BYTES = 4096
LINE_BYTES = 64


def quantized_product(grouped: GroupedType, processor: Processor, columns: int, planes: int) -> str:
    """The LLVM module of a quantized product. columns: of x. planes: int8 values per activation, which add up to it."""
    module = ir.Module(f"{grouped.type}-{columns}-{planes}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    kernel = _Quantized(emit, grouped, columns * planes)
    type, width = grouped.type, PRODUCT.read(emit, "width")
    blocks, weights = _divide(emit, width, type.weights), PRODUCT.read(emit, "weights")
    with _rows_by_turns(emit) as (turn, row):
        first = turn * columns
        base = weights + row * PRODUCT.read(emit, "row_bytes")
        kernel.begin(first * planes)
        done = emit.index(0)
        for count in kernel.steps:
            whole = _divide(emit, blocks - done, count) * count + done
            with emit.loop(done, whole, count) as block:
                kernel.blocks(base, block, count)
            done = whole
        sums = kernel.totals()
        for column in range(columns):
            total = sums[column * planes]
            for plane in range(1, planes):
                total = total + sums[column * planes + plane]
            write_result(emit, total, row, first + column)
    emit.ret()
    return str(module)


def exact_product(type: QuantType, processor: Processor, columns: int, rounded: str | None) -> str:
    """The LLVM module of a float32 product, with weights as dequantized or rounded once from that.

    rounded: "BF16", "F16" or None.
    """
    assert type.vectors is not None, f"{type} has no vector form"
    module = ir.Module(f"{type}-{columns}-exact")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    taken = step(type) * type.weights
    turns = _divide(emit, PRODUCT.read(emit, "width"), taken)
    sums = [[emit.variable(emit.zeros(16)) for _ in range(_chains(columns))] for _ in range(columns)]
    weights = PRODUCT.read(emit, "weights")
    with _rows_by_turns(emit) as (round, row):
        first, width = round * columns, PRODUCT.read(emit, "width")
        columns_of_x = [PRODUCT.read(emit, "x") + (first + column) * width * 4 for column in range(columns)]
        base = weights + row * PRODUCT.read(emit, "row_bytes")
        for variable in (variable for chains in sums for variable in chains):
            variable.value = emit.zeros(16)
        with emit.loop(emit.index(0), turns) as turn:
            address = base + turn * (step(type) * type.block_bytes)
            block = Block(emit.builder, type, emit.pointer(address), processor.has)
            for index, vector in enumerate(weights_by_16(type, block)):
                vector = rounded_weights(vector, rounded)
                for x, chains in zip(columns_of_x, sums, strict=True):
                    at = x + turn * (4 * taken)
                    chain = chains[index % len(chains)]
                    chain.value = emit.fma(vector, emit.load(at, FLOAT, 16, 64 * index), chain.value)
        for column, chains in enumerate(sums):
            total = chains[0].value
            for chain in chains[1:]:
                total = total + chain.value
            write_result(emit, emit.total(total), row, first + column)
    emit.ret()
    return str(module)


def write_result(emit: Emitter, total: Value, row: Value, column: Value) -> None:
    """Emit adding bias and residual to the result for a row and a column, and storing it."""
    result = emit.variable(total)
    bias = PRODUCT.read(emit, "bias")
    with emit.when(emit.less(emit.index(0), bias)):
        result.value = result.value + emit.load(bias + row * 4, FLOAT)
    behind = column * PRODUCT.read(emit, "y_bytes") + row * 4
    residual = PRODUCT.read(emit, "residual")
    with emit.when(emit.less(emit.index(0), residual)):
        factor = emit.load(PRODUCT.read(emit, "factor"), FLOAT)
        result.value = emit.fma(result.value, factor, emit.load(residual + behind, FLOAT))
    emit.store(result.value, PRODUCT.read(emit, "y") + behind)


@contextmanager
def _rows_by_turns(emit: Emitter) -> Iterator[tuple[Value, Value]]:
    """Emit the loops over batches of columns and, inside, over the kernel's rows."""
    with (
        emit.loop(emit.index(0), PRODUCT.read(emit, "turns")) as turn,
        emit.loop(emit.arguments[START], emit.arguments[STOP]) as row,
    ):
        yield turn, row


def _chains(columns: int) -> int:
    """Number of independent sums per column, so that an addition need not wait for the previous one."""
    return max(1, 4 // columns)


def _divide(emit: Emitter, number: Value, by: int) -> Value:
    return emit.wrap(emit.builder.udiv(number.ir, emit.index(by).ir))


def weights_by_16(type: QuantType, block: Block) -> Iterator[Value]:
    """The block's weights as vectors of 16 float32, in order."""
    assert type.vectors is not None
    for weights in type.vectors(block):
        if isinstance(weights, CodedWeights):
            yield weights.weights_of(weights.codes[:16])
            yield weights.weights_of(weights.codes[16:])
        else:
            yield weights


def rounded_weights(weights: Value, to: str | None) -> Value:
    """Round 16 float32 once to the nearest "BF16" or "F16"; unchanged for None."""
    if to is None:
        return weights
    if to == "F16":
        half = weights.round_to(ir.HalfType())
        return Value(half.builder, half.builder.fpext(half.ir, ir.VectorType(FLOAT, 16)))
    bits = weights.bits()
    odd = bits >> 16 & 1
    return ((bits + odd + 0x7FFF) & 0xFFFF0000).as_floats()


class _Quantized:
    """Emits the sums of one row, and adding blocks to them."""

    def __init__(self, emit: Emitter, grouped: GroupedType, columns: int) -> None:
        self.emit, self.grouped, self.columns = emit, grouped, columns
        single = grouped.type.weights // grouped.group  # groups of a block
        self.steps = (8, 2, 1) if grouped.type.weights == GROUP else (1,)
        self.groups = max(single * self.steps[0], 2)
        self.lanes = emit.processor.lanes
        chains = 2 if columns == 1 else 1
        self.sums = [[emit.variable(emit.zeros(self.lanes)) for _ in range(chains)] for _ in range(columns)]
        self.minima = [emit.variable(emit.zeros(self.groups)) for _ in range(columns)]
        self.first = emit.index(0)

    def begin(self, first: Value) -> None:
        """Start a row; `first` is the kernel's first column."""
        self.first = first
        for variable in (variable for chains in self.sums for variable in chains):
            variable.value = self.emit.zeros(self.lanes)
        for variable in self.minima:
            variable.value = self.emit.zeros(self.groups)

    def blocks(self, base: Value, first: Value, count: int) -> None:
        """Multiply `count` blocks, starting with block `first`."""
        emit, type = self.emit, self.grouped.type
        address = base + first * type.block_bytes
        for line in range(0, count * type.block_bytes, LINE_BYTES):
            emit.prefetch(address, AHEAD_BYTES + line)
        run = Run(
            [
                Block(emit.builder, type, emit.pointer(address, i * type.block_bytes), emit.processor.has)
                for i in range(count)
            ]
        )
        groups = self.grouped.describe(run)
        pieces = list(_pieces(groups.codes, emit.processor.register_bytes))
        for column in range(self.columns):
            self._column(groups, pieces, first * type.weights, column)

    def _column(self, groups: Groups, pieces: Sequence[Value], first: Value, column: int) -> None:
        """Multiply one column. first: index in the row of the pieces' first weight."""
        emit, group = self.emit, self.grouped.group
        width = PRODUCT.read(emit, "width")
        weight = width * (self.first + column) + first
        x = PRODUCT.read(emit, "x") + weight
        count = groups.scales.lanes
        in_groups = emit.wrap(emit.builder.lshr(weight.ir, emit.index(3 if group == GROUP else 2).ir))
        scale_at = PRODUCT.read(emit, "x_scales") + emit.wrap(emit.builder.lshr(weight.ir, emit.index(3).ir))
        scales = emit.load(scale_at, FLOAT, count * group // GROUP)
        if group < GROUP:
            scales = scales.take([lane * group // GROUP for lane in range(count)])
        scales = groups.scales * scales
        sums = emit.load(PRODUCT.read(emit, f"x_sums{group}") + in_groups, FLOAT, count)
        minima = self.minima[column]
        if count == self.groups:
            minima.value = emit.fma(groups.minima, sums, minima.value)
        else:
            minima.value = minima.value + _pad(emit, groups.minima * sums, self.groups)
        at = 0
        for index, codes in enumerate(pieces):
            found = dot4(
                emit, emit.zeros(codes.lanes // 4, ir.IntType(32)), codes, emit.load(x, BYTE, codes.lanes, at),
                self.grouped.bits,
            )  # fmt: skip
            each = scales.take([(at + 4 * lane) // group for lane in range(found.lanes)])
            self._add(column, index, found.signed_floats(), each)
            at += codes.lanes

    def _add(self, column: int, index: int, found: Value, scales: Value) -> None:
        chain: Variable = self.sums[column][index % len(self.sums[column])]
        if found.lanes == self.lanes:
            chain.value = self.emit.fma(found, scales, chain.value)
        else:
            chain.value = chain.value + _pad(self.emit, found * scales, self.lanes)

    def totals(self) -> list[Value]:
        """The row's result for every column."""
        results = []
        for chains, minima in zip(self.sums, self.minima, strict=True):
            total = chains[0].value
            for chain in chains[1:]:
                total = total + chain.value
            results.append(self.emit.total(total) - self.emit.total(minima.value))
        return results


def _pieces(codes: Sequence[Value], size: int) -> Iterator[Value]:
    """Codes in vectors of `size` bytes, with one of 32 at the end if their number is odd."""
    if size == GROUP:
        yield from codes
        return
    for first in range(0, len(codes) - 1, 2):
        yield codes[first].concat(codes[first + 1])
    if len(codes) % 2:
        yield codes[-1]


def _pad(emit: Emitter, values: Value, lanes: int) -> Value:
    """Pad a vector with zeros to `lanes`."""
    missing = [values.lanes] * (lanes - values.lanes)
    return values.take([*range(values.lanes), *missing], emit.zeros(values.lanes))
