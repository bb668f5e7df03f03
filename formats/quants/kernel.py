"""LLVM code of a type's dequantization: a loop over blocks that rounds and stores the weights of its vector code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from llorch.formats.quants.types import QuantType
from llorch.formats.vector_code.vectors import BYTE, HALF, INDEX, WORD, Block, CodedWeights, Has, Value

# Weights rounded and stored together: two of the vectors that a type yields.
LANES = 32
NAME = "dequantize"

# Lanes of the running maximum of magnitudes: one register of most processors.
BOUNDS = 8

# Bytes of an output weight.
SIZES = {"F32": 4, "F16": 2, "BF16": 2}


def step(type: QuantType) -> int:
    """Return the number of blocks per loop iteration: one, or a vector's length for a type of single weights."""
    return LANES if type.weights == 1 else 1


def kernel(type: QuantType, dtype: str, has: Has) -> str:
    """Return the text of an LLVM module with the function `i32 dequantize(source, target, steps)`.

    dtype: of the output, "F32", "F16" or "BF16". The function returns an upper bound of the weights' magnitudes before
    rounding, as float32 bits without the sign; a NaN's bits are the largest of all. If the bound is finite in `dtype`,
    everything the function wrote is right.
    """
    assert type.vectors is not None, f"{type} has no vector code"
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
    for weights in _in_pairs(type.vectors(block)):
        if isinstance(weights, CodedWeights) and dtype != "F32" and has.shuffle:
            written = _look_up(weights.codes, _all_weights(weights, dtype, has))
        else:
            each.append(weights.weights_of(weights.codes) if isinstance(weights, CodedWeights) else weights)
            written = [_round(each[-1], dtype, has)]
        for part in written:
            builder.store(part.ir, _at(builder, out, INDEX(stored), SIZES[dtype]), align=1)
            stored += part.lanes
    assert stored == step(type) * type.weights, f"the vector code of {type} yields {stored} weights"
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


def _in_pairs(vectors: Iterator[Value | CodedWeights]) -> Iterator[Value | CodedWeights]:
    """Yield a type's weights 32 at a time, joining its vectors of 16 in pairs."""
    for first in vectors:
        if isinstance(first, CodedWeights):
            yield first
        else:
            second = next(vectors)
            assert isinstance(second, Value)
            yield first.concat(second)


def _all_weights(coded: CodedWeights, dtype: str, has: Has) -> Value:
    """Return the weights of all sixteen codes, in 16 bits each as they are stored."""
    builder = coded.codes.builder
    if dtype == "F16":
        return _round(coded.weights_of(_codes(builder, range(16))), dtype, has)
    even, odd = (
        _round_to_bfloat16(coded.weights_of(_codes(builder, range(first, 16, 2)))) for first in (0, 1)
    )
    return (even >> 16 | odd & 0xFFFF0000).as_integers(16)


def _codes(builder: Any, codes: range) -> Value:
    return Value(builder, ir.Constant(ir.VectorType(BYTE, len(codes)), [BYTE(code) for code in codes]))


def _look_up(codes: Value, table: Value) -> list[Value]:
    """Look up 32 codes in a table of sixteen 16-bit numbers, by shuffling their low and high bytes separately.

    The lanes are ordered so that no byte has to leave its half of a register after the shuffle.
    """
    table = table.as_integers(8)
    apart = table.take(_join(*(range(half + byte, half + 16, 2) for half in (0, 16) for byte in (0, 1))))
    low = apart.take(2 * _join(range(8), range(16, 24)))
    high = apart.take(2 * _join(range(8, 16), range(24, 32)))
    codes = codes.take(_join(range(8), range(16, 24), range(8, 16), range(24, 32)))
    low, high = codes.look_up_by_shuffle(low), codes.look_up_by_shuffle(high)
    first = [lane + of for half in (0, 16) for lane in range(half, half + 8) for of in (0, 32)]
    second = [lane + 8 for lane in first]
    return [low.take(run, high).as_integers(16) for run in (first, second)]


def _join(*runs: range) -> list[int]:
    return [lane for run in runs for lane in run]


def _fold(magnitudes: Value) -> Value:
    """Reduce magnitudes to BOUNDS lanes by taking the larger ones; a single number is copied to all lanes."""
    if magnitudes.lanes in (0, BOUNDS):
        return magnitudes.spread(BOUNDS)
    middle = magnitudes.lanes // 2
    return _fold(_larger(magnitudes[:middle], magnitudes[middle:]))


def _at(builder: Any, base: Any, index: Any, stride: int) -> Any:
    return builder.gep(base, [builder.mul(index, INDEX(stride))], source_etype=BYTE)


def _larger(left: Value, right: Value) -> Value:
    return left.is_below(right).choose(right, left)


def _round(weights: Value, dtype: str, has: Has) -> Value:
    """Round float32 once to nearest even, to what is stored; right for numbers that are finite before and after."""
    if dtype == "F32":
        return weights
    if dtype == "BF16":
        return _round_to_bfloat16(weights).upper_halves()
    return weights.round_to(HALF).as_integers(16) if has.halves else _round_to_half(weights)


def _round_to_bfloat16(weights: Value) -> Value:
    """Return float32 bits whose upper half is the nearest bfloat16, ties to even.

    With integer operations, because the processors' own instruction flushes subnormal numbers to zero.
    """
    bits = weights.bits()
    just_below_half = bits & 0 | 0x7FFF
    is_even = (bits & 0x10000).equals(0)
    return bits + is_even.choose(just_below_half, just_below_half + 1)


def _round_to_half(weights: Value) -> Value:
    """Round float32 to float16 with integer operations; subnormal halves by the rounding of a float32 addition."""
    bits = weights.bits()
    magnitude = bits & 0x7FFFFFFF
    # In a sum with ½, the lowest bit is 2^-24, the step of subnormal halves.
    subnormal = (magnitude.as_floats() + 0.5).bits() - 0x3F000000
    normal = (magnitude + (magnitude >> 13 & 1) - ((127 - 15 << 23) - 0xFFF)) >> 13
    finite = magnitude.is_below(127 - 14 << 23).choose(subnormal, normal)
    return (finite | bits >> 16 & 0x8000).narrow(16)
