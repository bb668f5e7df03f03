"""Small kernels between products: norms, RoPE and caching, gated activations, sums."""

from __future__ import annotations

import math
from typing import Literal

from llvmlite import ir

from llorch.formats.vector_code import FLOAT, INDEX, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, Table
from llorch.runtime.kernels.cpu.emit import Emitter
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.functions import divide, erf, exp, tanh

NAME = "step"
LANES = 16  # of the vectors in these kernels: widths must be multiples of it

# Items are rows of `width`, contiguous. period: number of weight rows; row i uses weight row i mod period.
# bias: an address, or 0. eps: a float32's bits.
NORM = Table("source", "target", "width", "weight", "period", "bias", "eps")
# Items are vectors of 16. up: an address, or 0 for no factor.
GATE = Table("gate", "up", "target")
# Items are vectors of 16: target += factor · source. factor: a float32's bits.
ADD = Table("source", "target", "factor")
# What all layers of a run share, one entry per token: address of its cache's addresses, two per layer
# (`Cache.addresses`), the cache's capacity in positions, and the token's position; and a buffer for scores, with
# `capacity` float32 per thread: `planned` plus two vectors, or more.
TOKEN = Table("cache", "planned", "position", "scores", "capacity")
TOKEN_BYTES = 8 * len(TOKEN.names)
# Items are a token's heads (queries, then keys, then values), token by token. tokens: address of the first
# TOKEN. cosine, sine: n_rot / 2 float32 per token.
ROTATE = Table("q", "k", "v", "tokens", "cosine", "sine", "n_rot", "layer", "heads", "kv_heads", "head_dim")


def cached_address(emit: Emitter, token: Value, layer: Value, which: int = 0) -> Value:
    """Address of what a layer caches for a token's request. token: address of its TOKEN."""
    addresses = emit.load(token, INDEX, offset=8 * TOKEN.slot("cache"))
    return emit.load(addresses + layer * 16, INDEX, offset=8 * which)


def norm_kernel(processor: Processor, kind: Literal["rms", "layer"]) -> str:
    """The LLVM module for x / √(mean x² + eps) · w + b, or the same on x minus its mean."""
    module = ir.Module(f"norm-{kind}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    source, target, width, weight, period, bias = (NORM.read(emit, name) for name in NORM.names[:6])
    count = emit.wrap(emit.builder.sitofp(width.ir, FLOAT))
    total = emit.variable(emit.zeros(LANES))
    mean = emit.variable(emit.constant(FLOAT, 0.0))
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as row:
        x, out = source + row * width * 4, target + row * width * 4
        own = weight + emit.wrap(emit.builder.urem(row.ir, period.ir)) * width * 4
        mean.value = emit.constant(FLOAT, 0.0)
        if kind == "layer":
            total.value = emit.zeros(LANES)
            with emit.loop(emit.index(0), width, LANES) as first:
                total.value = total.value + emit.load(x + first * 4, FLOAT, LANES)
            mean.value = divide(emit, emit.total(total.value), count)
        total.value = emit.zeros(LANES)
        with emit.loop(emit.index(0), width, LANES) as first:
            centred = emit.load(x + first * 4, FLOAT, LANES) - mean.value
            total.value = emit.fma(centred, centred, total.value)
        variance = divide(emit, emit.total(total.value), count) + NORM.read(emit, "eps", FLOAT)
        root = emit.call("llvm.sqrt.f32", FLOAT, variance)
        inverse = divide(emit, emit.constant(FLOAT, 1.0), root)
        with emit.loop(emit.index(0), width, LANES) as first:
            centred = emit.load(x + first * 4, FLOAT, LANES) - mean.value
            scaled = centred * inverse * emit.load(own + first * 4, FLOAT, LANES)
            result = emit.variable(scaled)
            result.value = scaled
            with emit.when(emit.less(emit.index(0), bias)):
                result.value = scaled + emit.load(bias + first * 4, FLOAT, LANES)
            emit.store(result.value, out + first * 4)
    emit.ret()
    return str(module)


def gate_kernel(processor: Processor, activation: str) -> str:
    """The LLVM module for act(gate) · up."""
    module = ir.Module(f"gate-{activation}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    gate, up, target = (GATE.read(emit, name) for name in GATE.names)
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        behind = item * (4 * LANES)
        active = ACTIVATIONS[activation](emit, emit.load(gate + behind, FLOAT, LANES))
        result = emit.variable(active)
        result.value = active
        with emit.when(emit.less(emit.index(0), up)):
            result.value = active * emit.load(up + behind, FLOAT, LANES)
        emit.store(result.value, target + behind)
    emit.ret()
    return str(module)


def _silu(emit: Emitter, x: Value) -> Value:
    return divide(emit, x, exp(emit, x * -1.0) + 1.0)


def _gelu_tanh(emit: Emitter, x: Value) -> Value:
    inner = emit.fma(x * x * x, emit.constant(x.ir.type, 0.044715), x) * math.sqrt(2 / math.pi)
    return x * 0.5 * (tanh(emit, inner) + 1.0)


def _gelu(emit: Emitter, x: Value) -> Value:
    return x * 0.5 * (erf(emit, x * math.sqrt(0.5)) + 1.0)


def _sigmoid(emit: Emitter, x: Value) -> Value:
    return divide(emit, emit.constant(x.ir.type, 1.0), exp(emit, x * -1.0) + 1.0)


def _relu2(emit: Emitter, x: Value) -> Value:
    positive = emit.wrap(emit.builder.fcmp_ordered(">", x.ir, emit.zeros(x.lanes).ir))
    return positive.choose(x * x, emit.zeros(x.lanes))


ACTIVATIONS = {"silu": _silu, "gelu_tanh": _gelu_tanh, "gelu": _gelu, "sigmoid": _sigmoid, "relu2": _relu2}


def add_kernel(processor: Processor) -> str:
    """The LLVM module for target += factor · source."""
    module = ir.Module("add")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    source, target = (ADD.read(emit, name) for name in ADD.names[:2])
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        behind = item * (4 * LANES)
        factor, old = ADD.read(emit, "factor", FLOAT), emit.load(target + behind, FLOAT, LANES)
        emit.store(emit.fma(emit.load(source + behind, FLOAT, LANES), factor, old), target + behind)
    emit.ret()
    return str(module)


def rotate_pairs(
    emit: Emitter,
    pairs: Literal["interleaved", "halves"],
    moved: tuple[Value, Value],
    angles: tuple[Value, Value],
    half: Value,
    count: Value,
) -> None:
    """Emit RoPE on `count` of `half` pairs of channels by a token's angles. moved: source and target address."""
    (source, target), (cosine, sine) = moved, angles
    with emit.loop(emit.index(0), count) as pair:
        one, other = (pair * 8, pair * 8 + 4) if pairs == "interleaved" else (pair * 4, (pair + half) * 4)
        a, b = (emit.load(source + channel, FLOAT) for channel in (one, other))
        c, s = (emit.load(table + pair * 4, FLOAT) for table in (cosine, sine))
        emit.store(a * c - b * s, target + one)
        emit.store(b * c + a * s, target + other)


def rotate_kernel(processor: Processor, pairs: Literal["interleaved", "halves"]) -> str:
    """The LLVM module: rotates query heads in place, and stores rotated keys and values in the cache."""
    module = ir.Module(f"rotate-{pairs}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    q, k, v, tokens, cosine, sine, n_rot, layer, heads, kv_heads, head_dim = (
        ROTATE.read(emit, name) for name in ROTATE.names
    )
    row_bytes = head_dim * 4
    half = emit.wrap(emit.builder.lshr(n_rot.ir, emit.index(1).ir))
    every = heads + kv_heads * 2
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as number:
        place = emit.wrap(emit.builder.udiv(number.ir, every.ir))
        item = number - place * every
        token = tokens + place * TOKEN_BYTES
        planned, position = (emit.load(token, INDEX, offset=8 * TOKEN.slot(n)) for n in TOKEN.names[1:3])
        head_bytes = planned * row_bytes
        keys = cached_address(emit, token, layer) + position * row_bytes
        values = keys + kv_heads * head_bytes
        of_q = emit.less(item, heads)
        of_k = emit.less(item, heads + kv_heads)
        kv = item - heads
        own_q = q + (place * heads + item) * row_bytes
        own_k = k + (place * kv_heads + kv) * row_bytes
        own_v = v + (place * kv_heads + kv - kv_heads) * row_bytes
        source = of_q.choose(own_q, of_k.choose(own_k, own_v))
        cached = of_k.choose(keys + kv * head_bytes, values + (kv - kv_heads) * head_bytes)
        target = of_q.choose(source, cached)
        angle = place * half * 4
        turned = of_k.choose(half, emit.index(0))
        rotate_pairs(emit, pairs, (source, target), (cosine + angle, sine + angle), half, turned)
        with emit.loop(turned * 2, head_dim) as channel:
            emit.store(emit.load(source + channel * 4, FLOAT), target + channel * 4)
    emit.ret()
    return str(module)
