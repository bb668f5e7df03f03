"""The kernel for products with many matrices, each with its own segment of columns."""

from __future__ import annotations

from llvmlite import ir

from llorch.formats.vector_code import INDEX
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, THREAD, Table
from llorch.runtime.kernels.cpu.emit import VOID, Emitter
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.products import PRODUCT
from llorch.runtime.kernels.cpu.steps.small_steps import NAME

# Index of the matrix, its first column, and its number of columns.
SEGMENT = Table("matrix", "first", "count")
SEGMENT_BYTES = 8 * len(SEGMENT.names)
# Items are tiles of `tile_rows` of the matrices' rows, `tiles` of them per SEGMENT. product: address of a PRODUCT for
# the first matrix and column. matrix_bytes, y_matrix_bytes: strides between matrices and between their results.
# x_bytes, scale_bytes: strides between columns of the operand. y_first_bytes: times the index of a segment's first
# column, the offset of its results. A segment with fewer than `least` columns uses the kernel by_rows, whose items are
# rows, else by_panels, whose items are tiles; columns_…: columns that each takes at a time. own: a PRODUCT buffer per
# thread.
SEGMENTS = Table(
    "product", "segments", "tiles", "tile_rows", "matrix_bytes", "y_matrix_bytes", "x_bytes", "scale_bytes",
    "y_first_bytes", "least", "own", "by_rows", "columns_by_rows", "by_panels", "columns_by_panels",
)  # fmt: skip
OWN_BYTES = -(-8 * len(PRODUCT.names) // 64) * 64


def segments_kernel(processor: Processor) -> str:
    """The LLVM module: calls a product kernel for a tile of a matrix and the columns of its segment."""
    emit = Emitter(ir.Module("segments"), NAME, ARGUMENTS, processor)
    read = {name: SEGMENTS.read(emit, name) for name in SEGMENTS.names}
    thread = emit.arguments[THREAD]
    own = read["own"] + thread * OWN_BYTES
    given = {name: emit.load(read["product"], INDEX, offset=8 * PRODUCT.slot(name)) for name in PRODUCT.names}
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        segment = emit.wrap(emit.builder.udiv(item.ir, read["tiles"].ir))
        part, at = item - segment * read["tiles"], read["segments"] + segment * SEGMENT_BYTES
        matrix, first, count = (emit.load(at, INDEX, offset=8 * SEGMENT.slot(name)) for name in SEGMENT.names)
        is_few = emit.less(count, read["least"])
        kernel, columns = (
            is_few.choose(read[f"{what}by_rows"], read[f"{what}by_panels"]) for what in ("", "columns_")
        )
        moved = {
            "weights": matrix * read["matrix_bytes"], "x": first * read["x_bytes"],
            "x_scales": first * read["scale_bytes"], "x_sums32": first * read["scale_bytes"],
            "x_sums16": first * read["scale_bytes"] * 2,
            "y": first * read["y_first_bytes"] + matrix * read["y_matrix_bytes"],
        }  # fmt: skip
        for name, value in given.items():
            value = value + moved[name] if name in moved else value
            if name == "turns":
                value = emit.wrap(emit.builder.udiv((count + columns - 1).ir, columns.ir))
            emit.store(value, own, 8 * PRODUCT.slot(name))
        row = part * read["tile_rows"]
        start = is_few.choose(row, part)
        stop = is_few.choose(emit.minimum(row + read["tile_rows"], given["rows"]), part + 1)
        emit.call_at(kernel, VOID, own, start, stop, thread)
    emit.ret()
    return str(emit.module)
