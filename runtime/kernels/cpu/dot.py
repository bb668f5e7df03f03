"""Dot products of unsigned with signed bytes in groups of four, for which CPUs have instructions."""

from __future__ import annotations

from llvmlite import ir

from llorch.formats.vector_code import BYTE, WORD, Value
from llorch.runtime.kernels.cpu.emit import SHORT, Emitter, vector

# Most bits of a code for which `pmaddubsw`'s sums of two products fit in 16 bits: 2 · 127 · 127 does.
SAFE_BITS = 7


def dot4(emit: Emitter, sums: Value, codes: Value, x: Value, bits: int) -> Value:
    """Emit sums + Σ of each four consecutive products.

    sums: n int32. codes: 4n unsigned bytes. x: 4n signed bytes. bits: number of bits that a code may use.
    """
    chosen = emit.processor.instructions
    if chosen == "avx512-vnni":
        width = 8 * codes.lanes
        if width in (256, 512):
            name = f"llvm.x86.avx512.vpdpbusd.{width}"
            return emit.call(name, sums.ir.type, sums, codes, x)
    if bits > SAFE_BITS and chosen != "portable":
        halved = _dot4(emit, emit.zeros(sums.lanes, WORD), codes >> 1, x)
        return _dot4(emit, sums + (halved << 1), codes & 1, x)
    return _dot4(emit, sums, codes, x)


def _dot4(emit: Emitter, sums: Value, codes: Value, x: Value) -> Value:
    """See `dot4`, for codes of at most seven bits."""
    chosen, lanes = emit.processor.instructions, codes.lanes
    if emit.processor.is_x86 and lanes in (32, 64):
        pairs = {32: "llvm.x86.avx2.pmadd.ub.sw", 64: "llvm.x86.avx512.pmaddubs.w.512"}[lanes]
        both = {32: "llvm.x86.avx2.pmadd.wd", 64: "llvm.x86.avx512.pmaddw.d.512"}[lanes]
        products = emit.call(pairs, vector(SHORT, lanes // 2), codes, x)
        ones = emit.constant(vector(SHORT, lanes // 2), 1)
        return sums + emit.call(both, sums.ir.type, products, ones)
    if chosen == "dotprod" and lanes % 16 == 0:
        name = "llvm.aarch64.neon.sdot.v4i32.v16i8"
        parts = [
            emit.call(
                name,
                vector(WORD, 4),
                sums[4 * i : 4 * i + 4],
                codes[16 * i : 16 * i + 16],
                x[16 * i : 16 * i + 16],
            )
            for i in range(lanes // 16)
        ]
        return _join(parts)
    return _plain(emit, sums, codes, x)


def _plain(emit: Emitter, sums: Value, codes: Value, x: Value) -> Value:
    builder, lanes = emit.builder, codes.lanes
    wide = vector(WORD, lanes)
    products = emit.wrap(builder.mul(builder.zext(codes.ir, wide), builder.sext(x.ir, wide)))
    for first in range(4):
        sums = sums + products.take(range(first, lanes, 4))
    return sums


def _join(parts: list[Value]) -> Value:
    while len(parts) > 1:
        parts = [parts[i].concat(parts[i + 1]) for i in range(0, len(parts), 2)]
    return parts[0]


def bytes_of(emit: Emitter, word: Value, lanes: int) -> Value:
    """A 32-bit integer repeated in every lane, as four times as many bytes."""
    spread = word.spread(lanes)
    return emit.wrap(emit.builder.bitcast(spread.ir, ir.VectorType(BYTE, 4 * lanes)))
