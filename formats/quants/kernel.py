"""A type's fast form as one LLVM function: a loop over blocks that rounds and stores what the type yields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from llorch.formats.quants.types import QuantType
from llorch.formats.vector_code.vectors import BYTE, HALF, INDEX, WORD, Block, CodedWeights, Has, Value

# Weights that are rounded and stored together: two of the vectors that a type yields.
LANES = 32
NAME = "dequantize"

# Lanes in which a kernel keeps the largest magnitude: one register of most processors.
BOUNDS = 8

# Bytes of a weight as it is written.
SIZES = {"F32": 4, "F16": 2, "BF16": 2}


def step(type: QuantType) -> int:
    """Blocks that one turn of the loop takes; types of single weights go by vectors."""
    return LANES if type.weights == 1 else 1


def kernel(type: QuantType, dtype: str, has: Has) -> str:
    """The module's text, with `i32 dequantize(source, target, steps)` in it.

    dtype: "F32", "F16" or "BF16". The function returns a bound of the magnitudes of the weights before rounding, as
    a float32's bits without its sign: a NaN's are the largest of all. What it wrote is right if that is finite as
    it is written.
    """
    assert type.vectors is not None, f"{type} has no fast form"
    module = ir.Module(f"{type}-{dtype}")
    pointer = ir.PointerType()
    function = ir.Function(module, ir.FunctionType(WORD, [pointer, pointer, INDEX]), NAME)
    source, target, count = function.args
    for memory in (source, target):
        memory.add_attribute("noalias")
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    vector = ir.VectorType(WORD, BOUNDS)
    nothing = ir.Constant(vector, [0] * BOUNDS)

    builder = ir.IRBuilder(entry)
    builder.cbranch(builder.icmp_unsigned("==", count, INDEX(0)), done, loop)
    builder.position_at_end(loop)
    index, largest = builder.phi(INDEX), builder.phi(vector)
    at = _at(builder, source, index, step(type) * type.block_bytes)
    out = _at(builder, target, index, step(type) * type.weights * SIZES[dtype])
    block, each, stored = Block(builder, type, at, has), list[Value](), 0
    for weights in _together(type.vectors(block)):
        if isinstance(weights, CodedWeights) and dtype != "F32" and has.shuffle:
            written = _looked_up(weights.codes, _every(weights, dtype, has))
        else:
            each.append(weights.weights_of(weights.codes) if isinstance(weights, CodedWeights) else weights)
            written = [_round(each[-1], dtype, has)]
        for part in written:
            builder.store(part.ir, _at(builder, out, INDEX(stored), SIZES[dtype]), align=1)
            stored += part.lanes
    assert stored == step(type) * type.weights, f"{type}'s fast form yields {stored} weights"
    magnitude = Value(builder, largest)
    for bound in block.bounds or each:
        magnitude = _larger(magnitude, _fold(bound.bits() & 0x7FFFFFFF))
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
    reduce = ir.Function(module, ir.FunctionType(WORD, [vector]), f"llvm.vector.reduce.umax.v{BOUNDS}i32")
    builder.ret(builder.call(reduce, [final]))
    return str(module)


def _together(vectors: Iterator[Value | CodedWeights]) -> Iterator[Value | CodedWeights]:
    """What a type yields, 32 weights at a time: its vectors of 16 two by two."""
    for first in vectors:
        if isinstance(first, CodedWeights):
            yield first
        else:
            second = next(vectors)
            assert isinstance(second, Value)
            yield first.followed_by(second)


def _every(coded: CodedWeights, dtype: str, has: Has) -> Value:
    """What each of the sixteen codes is written as, 16 bits each."""
    builder = coded.codes.builder
    if dtype == "F16":
        return _round(coded.weights_of(_codes(builder, range(16))), dtype, has)
    even, odd = (_nearest(coded.weights_of(_codes(builder, range(first, 16, 2)))) for first in (0, 1))
    return (even >> 16 | odd & 0xFFFF0000).as_integers(16)


def _codes(builder: Any, codes: range) -> Value:
    return Value(builder, ir.Constant(ir.VectorType(BYTE, len(codes)), [BYTE(code) for code in codes]))


def _looked_up(codes: Value, table: Value) -> list[Value]:
    """32 codes → their numbers of 16 bits in a table of 16: each byte of a number is shuffled by itself.

    In an order in which no byte has to leave its half of a register after the shuffle.
    """
    table = table.as_integers(8)
    apart = table.taken(_join(*(range(half + byte, half + 16, 2) for half in (0, 16) for byte in (0, 1))))
    low = apart.taken(2 * _join(range(8), range(16, 24)))
    high = apart.taken(2 * _join(range(8, 16), range(24, 32)))
    codes = codes.taken(_join(range(8), range(16, 24), range(8, 16), range(24, 32)))
    low, high = codes.chosen_from(low), codes.chosen_from(high)
    first = [lane + of for half in (0, 16) for lane in range(half, half + 8) for of in (0, 32)]
    second = [lane + 8 for lane in first]
    return [low.taken(run, high).as_integers(16) for run in (first, second)]


def _join(*runs: range) -> list[int]:
    return [lane for run in runs for lane in run]


def _fold(magnitudes: Value) -> Value:
    """Magnitudes in as many lanes as a kernel keeps: one in all of them, or of more the larger ones."""
    if magnitudes.lanes in (0, BOUNDS):
        return magnitudes.spread(BOUNDS)
    middle = magnitudes.lanes // 2
    return _fold(_larger(magnitudes[:middle], magnitudes[middle:]))


def _at(builder: Any, base: Any, index: Any, stride: int) -> Any:
    return builder.gep(base, [builder.mul(index, INDEX(stride))], source_etype=BYTE)


def _larger(left: Value, right: Value) -> Value:
    return left.is_below(right).choose(right, left)


def _round(weights: Value, dtype: str, has: Has) -> Value:
    """Float32 → what is stored, rounded once to nearest even; right for what is finite before and after."""
    if dtype == "F32":
        return weights
    if dtype == "BF16":
        return _nearest(weights).upper_halves()
    return weights.rounded(HALF).as_integers(16) if has.halves else _half(weights)


def _nearest(weights: Value) -> Value:
    """Float32's bits, of which the upper half is the nearest bfloat16, ties to even.

    By integers: the processors' own instruction takes subnormal numbers for zero.
    """
    bits = weights.bits()
    just_below_half = bits & 0 | 0x7FFF
    is_even = (bits & 0x10000).equals(0)
    return bits + is_even.choose(just_below_half, just_below_half + 1)


def _half(weights: Value) -> Value:
    """By integers, and for what is subnormal as a half by the rounding of an addition in float32."""
    bits = weights.bits()
    magnitude = bits & 0x7FFFFFFF
    # Adding ½ leaves a half's subnormal steps of 2^-24 as the sum's lowest bits.
    subnormal = (magnitude.as_floats() + 0.5).bits() - 0x3F000000
    normal = (magnitude + (magnitude >> 13 & 1) - ((127 - 15 << 23) - 0xFFF)) >> 13
    finite = magnitude.is_below(127 - 14 << 23).choose(subnormal, normal)
    return (finite | bits >> 16 & 0x8000).narrow(16)
