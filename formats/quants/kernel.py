"""A type's fast form as one LLVM function: a loop over blocks that rounds and stores what the type yields."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from formats.quants.types import QuantType
from formats.quants.vectors import BYTE, HALF, INDEX, WORD, Block, Value

# Weights that are rounded and stored together: two of the vectors that a type yields.
LANES = 32
NAME = "dequantize"

# Bytes of a weight as it is written.
SIZES = {"F32": 4, "F16": 2, "BF16": 2}


def step(type: QuantType) -> int:
    """Blocks that one turn of the loop takes; types of single weights go by vectors."""
    return LANES if type.weights == 1 else 1


def kernel(type: QuantType, dtype: str, *, has_halves: bool) -> str:
    """The module's text, with `i32 dequantize(source, target, steps)` in it.

    dtype: "F32", "F16" or "BF16". has_halves: the target has instructions between half and float32.
    The function returns the largest magnitude among the weights before rounding, as a float32's bits without
    its sign: a NaN's are the largest of all. What it wrote is right if that is finite as it is written.
    """
    assert type.vectors is not None, f"{type} has no fast form"
    module = ir.Module(f"{type}-{dtype}")
    pointer = ir.PointerType()
    function = ir.Function(module, ir.FunctionType(WORD, [pointer, pointer, INDEX]), NAME)
    source, target, count = function.args
    for memory in (source, target):
        memory.add_attribute("noalias")
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    vector = ir.VectorType(WORD, LANES)
    nothing = ir.Constant(vector, [0] * LANES)

    builder = ir.IRBuilder(entry)
    builder.cbranch(builder.icmp_unsigned("==", count, INDEX(0)), done, loop)
    builder.position_at_end(loop)
    index, largest = builder.phi(INDEX), builder.phi(vector)
    block = _at(builder, source, index, step(type) * type.block_bytes)
    out = _at(builder, target, index, step(type) * type.weights * SIZES[dtype])
    magnitude = Value(builder, largest)
    yielded = 0
    vectors = type.vectors(Block(builder, type, block, has_halves=has_halves))
    for low, high in zip(vectors, vectors, strict=True):  # two by two
        weights = low.followed_by(high)
        magnitude = _larger(magnitude, weights.bits() & 0x7FFFFFFF)
        stored = _rounded(weights, dtype, has_halves)
        builder.store(stored.ir, _at(builder, out, INDEX(yielded), SIZES[dtype]), align=1)
        yielded += weights.lanes
    assert yielded == step(type) * type.weights, f"{type}'s fast form yields {yielded} weights"
    following = builder.add(index, INDEX(1))
    index.add_incoming(INDEX(0), entry)
    index.add_incoming(following, loop)
    largest.add_incoming(nothing, entry)
    largest.add_incoming(magnitude.ir, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, count), loop, done)

    builder.position_at_end(done)
    final = builder.phi(vector)
    final.add_incoming(nothing, entry)
    final.add_incoming(magnitude.ir, loop)
    reduce = ir.Function(module, ir.FunctionType(WORD, [vector]), f"llvm.vector.reduce.umax.v{LANES}i32")
    builder.ret(builder.call(reduce, [final]))
    return str(module)


def _at(builder: Any, base: Any, index: Any, stride: int) -> Any:
    return builder.gep(base, [builder.mul(index, INDEX(stride))], source_etype=BYTE)


def _larger(left: Value, right: Value) -> Value:
    return left.is_below(right).choose(right, left)


def _rounded(weights: Value, dtype: str, has_halves: bool) -> Value:
    """Float32 → what is stored, rounded once to nearest even; right for what is finite before and after."""
    if dtype == "F32":
        return weights
    if dtype == "BF16":
        return _bfloat16(weights)
    return weights.rounded(HALF) if has_halves else _half(weights)


def _bfloat16(weights: Value) -> Value:
    """By integers: the processors' own instruction takes subnormal numbers for zero."""
    bits = weights.bits()
    just_below_half = bits & 0 | 0x7FFF
    is_even = (bits & 0x10000).equals(0)
    return (bits + is_even.choose(just_below_half, just_below_half + 1)).upper_halves()


def _half(weights: Value) -> Value:
    """By integers, and for what is subnormal as a half by the rounding of an addition in float32."""
    bits = weights.bits()
    magnitude = bits & 0x7FFFFFFF
    # Adding ½ leaves a half's subnormal steps of 2^-24 as the sum's lowest bits.
    subnormal = (magnitude.as_floats() + 0.5).bits() - 0x3F000000
    normal = (magnitude + (magnitude >> 13 & 1) - ((127 - 15 << 23) - 0xFFF)) >> 13
    finite = magnitude.is_below(127 - 14 << 23).choose(subnormal, normal)
    return (finite | bits >> 16 & 0x8000).narrowed(16)
