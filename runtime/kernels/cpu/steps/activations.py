"""The kernel that makes int8 numbers of activations: 32 under one float32 scale, and their sums.

x ≈ scale · q, q from −127 to 127, rounded to nearest even. A second plane holds what the first leaves, by a scale
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
# What a plane's rounding leaves is at most half a step: this many steps of the next plane are one of the last.
FINER = 254

# source: float32, `width` a row, a multiple of 32, rows one after the other. The planes of a row follow one another.
# q: int8. scales: float32, one for 32. sums16, sums32: float32, scale · Σq of 16 and of 32.
QUANTIZE = Table("source", "width", "q", "scales", "sums16", "sums32")


def quantize_kernel(processor: Processor, planes: int) -> str:
    """The module's text; its items are groups of 32, row by row."""
    module = ir.Module(f"quantize-{planes}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    source, width, q, scales, sums16, sums32 = (QUANTIZE.read(emit, name) for name in QUANTIZE.names)
    groups = emit.of(emit.builder.udiv(width.ir, emit.index(GROUP).ir))
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        row = emit.of(emit.builder.udiv(item.ir, groups.ir))
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
    emit.back()
    return str(module)


def _scale(emit: Emitter, x: Value) -> tuple[Value, Value]:
    """The step of 32 numbers, and how many steps one is; 0 of nothing but zeros."""
    magnitude = x.magnitude()
    largest = emit.call("llvm.vector.reduce.fmax.v32f32", FLOAT, magnitude)
    builder = emit.builder
    inverse = emit.of(builder.fdiv(ir.Constant(FLOAT, LARGEST), largest.ir))
    some = emit.of(builder.fcmp_ordered(">=", largest.ir, ir.Constant(FLOAT, 2.0**-100)))
    return largest * (1 / LARGEST), some.choose(inverse, emit.constant(FLOAT, 0.0))


def _nearest(emit: Emitter, x: Value) -> Value:
    """The nearest integers from −127 to 127, of 32 bits; what is no number becomes 0."""
    rounded = emit.call("llvm.roundeven.v32f32", x.ir.type, x)
    integers = emit.call("llvm.fptosi.sat.v32i32.v32f32", vector(WORD, GROUP), rounded)
    limit = emit.constant(vector(WORD, GROUP), LARGEST)
    integers = emit.call("llvm.smin.v32i32", integers.ir.type, integers, limit)
    return emit.call(
        "llvm.smax.v32i32", integers.ir.type, integers, emit.constant(vector(WORD, GROUP), -LARGEST)
    )
