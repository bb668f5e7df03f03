"""The kernel that quantizes activations to int8: a float32 scale per 32 values, and sums.

x ≈ scale · q, q from −127 to 127, rounded to nearest even. A second plane quantizes the remainder with a scale
254 times smaller: together about 16 bits.
"""

from __future__ import annotations

from llvmlite import ir

from llorch.formats.vector_code import FLOAT, WORD, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, Table
from llorch.runtime.kernels.cpu.emit import Emitter, vector
from llorch.runtime.kernels.cpu.processor import Processor

NAME = "quantize"
GROUP = 32
LARGEST = 127
# Rounding leaves at most half a step, so a plane's step is this many steps of the next plane.
FINER = 254

# source: rows of `width` float32, contiguous; width is a multiple of 32. The planes of a row are consecutive.
# q: int8. scales: float32, one per 32. sums16, sums32: float32, scale · Σq over 16 and over 32.
QUANTIZE = Table("source", "width", "q", "scales", "sums16", "sums32")


def quantize_kernel(processor: Processor, planes: int) -> str:
    """The LLVM module; its items are groups of 32, row by row."""
    module = ir.Module(f"quantize-{planes}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    source, width, q, scales, sums16, sums32 = (QUANTIZE.read(emit, name) for name in QUANTIZE.names)
    groups = emit.wrap(emit.builder.udiv(width.ir, emit.index(GROUP).ir))
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        row = emit.wrap(emit.builder.udiv(item.ir, groups.ir))
        group = item - row * groups
        x = emit.load(source + item * (GROUP * 4), FLOAT, GROUP)
        scale, inverse = _scale(emit, x)
        for plane in range(planes):
            whole = (row * planes + plane) * groups + group
            integers = _nearest(emit, x * inverse)
            emit.store(integers.narrow(8), q + whole * GROUP)
            emit.store(scale, scales + whole * 4)
            for of, place in ((16, sums16), (32, sums32)):
                for part in range(GROUP // of):
                    total = emit.total(integers[part * of : part * of + of]).signed_floats()
                    emit.store(total * scale, place + (whole * (GROUP // of) + part) * 4)
            if plane + 1 < planes:
                x = x - integers.signed_floats() * scale
                scale, inverse = scale * (1 / FINER), inverse * float(FINER)
    emit.ret()
    return str(module)


def _scale(emit: Emitter, x: Value) -> tuple[Value, Value]:
    """The quantization step of 32 values, and its inverse; the inverse is 0 if all are zero."""
    magnitude = x.magnitude()
    largest = emit.call("llvm.vector.reduce.fmax.v32f32", FLOAT, magnitude)
    builder = emit.builder
    inverse = emit.wrap(builder.fdiv(ir.Constant(FLOAT, LARGEST), largest.ir))
    some = emit.wrap(builder.fcmp_ordered(">=", largest.ir, ir.Constant(FLOAT, 2.0**-100)))
    return largest * (1 / LARGEST), some.choose(inverse, emit.constant(FLOAT, 0.0))


def _nearest(emit: Emitter, x: Value) -> Value:
    """The nearest integers from −127 to 127, as int32; NaN becomes 0."""
    rounded = emit.call("llvm.roundeven.v32f32", x.ir.type, x)
    integers = emit.call("llvm.fptosi.sat.v32i32.v32f32", vector(WORD, GROUP), rounded)
    limit = emit.constant(vector(WORD, GROUP), LARGEST)
    integers = emit.call("llvm.smin.v32i32", integers.ir.type, integers, limit)
    return emit.call(
        "llvm.smax.v32i32", integers.ir.type, integers, emit.constant(vector(WORD, GROUP), -LARGEST)
    )
