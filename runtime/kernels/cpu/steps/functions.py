"""Vectorised exp, log, tanh and erf for float32, in LLVM's generic vector operations."""

from __future__ import annotations

import math

from llorch.formats.vector_code import WORD, Value
from llorch.runtime.kernels.cpu.emit import Emitter, vector

# ln 2 in two parts, so that n · ln 2 is exact in the first: Cody and Waite's reduction.
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.42860682030941723212e-6
# exp(r) − 1 − r over r², on |r| ≤ ln 2 / 2: Taylor's series to r⁷, whose next term is below half a last place.
SERIES = [1 / math.factorial(n) for n in range(7, 1, -1)]
# The range in which exp is a normal float32.
SMALLEST, LARGEST = -87.0, 88.0
# ln(1 + u) = 2 artanh(u / (2 + u)): the series in the square of that, which is at most 1 / 9; its next term is 1e-8.
ARTANH = [1 / (2 * n + 1) for n in range(7, -1, -1)]
# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: |error| ≤ 1.5e-7.
ERF_P = 0.3275911
ERF = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]


def exp(emit: Emitter, x: Value) -> Value:
    """eˣ, within two units in the last place; clamped to the range of normal float32."""
    low, high = (emit.constant(x.ir.type, bound) for bound in (SMALLEST, LARGEST))
    x = _extremum(emit, "minnum", _extremum(emit, "maxnum", x, low), high)
    name = f"llvm.roundeven.v{x.lanes}f32"
    n = emit.call(name, x.ir.type, x * (1 / math.log(2)))
    r = emit.fma(n, emit.constant(x.ir.type, -LN2_LOW), emit.fma(n, emit.constant(x.ir.type, -LN2_HIGH), x))
    total = emit.constant(x.ir.type, SERIES[0])
    for coefficient in SERIES[1:]:
        total = emit.fma(total, r, emit.constant(x.ir.type, coefficient))
    total = emit.fma(total * r, r, r + 1.0)
    exponent = emit.wrap(emit.builder.fptosi(n.ir, vector(WORD, x.lanes)))
    return (total.bits() + (exponent << 23)).as_floats()


def log1p(emit: Emitter, u: Value) -> Value:
    """ln(1 + u) for u from 0 to 1, within two units in the last place."""
    s = divide(emit, u, u + 2.0)
    square, total = s * s, emit.constant(u.ir.type, ARTANH[0])
    for coefficient in ARTANH[1:]:
        total = emit.fma(total, square, emit.constant(u.ir.type, coefficient))
    return s * total * 2.0


def divide(emit: Emitter, numerator: Value, denominator: Value) -> Value:
    """Divide lane by lane."""
    return emit.wrap(emit.builder.fdiv(numerator.ir, denominator.ir))


def tanh(emit: Emitter, x: Value) -> Value:
    """tanh x = 1 − 2 / (e²ˣ + 1); with an absolute error of one unit in the last place of 1."""
    one = emit.constant(x.ir.type, 1.0)
    return one - divide(emit, emit.constant(x.ir.type, 2.0), exp(emit, x * 2.0) + 1.0)


def erf(emit: Emitter, x: Value) -> Value:
    """erf x, within 1.5e-7."""
    magnitude, one = x.magnitude(), emit.constant(x.ir.type, 1.0)
    t = divide(emit, one, emit.fma(magnitude, emit.constant(x.ir.type, ERF_P), one))
    total = emit.constant(x.ir.type, ERF[0])
    for coefficient in ERF[1:]:
        total = emit.fma(total, t, emit.constant(x.ir.type, coefficient))
    positive = one - total * t * exp(emit, magnitude * magnitude * -1.0)
    return (positive.bits() | (x.bits() & 0x80000000)).as_floats()


def _extremum(emit: Emitter, which: str, left: Value, right: Value) -> Value:
    return emit.call(f"llvm.{which}.v{left.lanes}f32", left.ir.type, left, right)
