"""Kernels for recurrences, over one token or many: causal convolution, gated delta net, Mamba 2 and Mamba.

An item keeps its part of the state in a core's L1 cache and advances it over all new tokens in order; items are
independent. Formulas: `llorch.runtime.blocks`, modules delta_net, mamba, short_conv.
"""

from __future__ import annotations

from llvmlite import ir

from llorch.formats.vector_code import FLOAT, INDEX, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, Table
from llorch.runtime.kernels.cpu.emit import Emitter, Variable
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.functions import divide, exp, log1p
from llorch.runtime.kernels.cpu.steps.small_steps import ACTIVATIONS, LANES, NAME, TOKEN_BYTES, cached_address

UNIT_EPS = 1e-6  # in the norm of a delta net's queries and keys; `llorch.runtime.blocks.delta_net`
NARROW = 4  # lanes for scalar computations
WIDEST = 64  # value channels that one item of a delta net takes

# In all tables, tokens: address of `count` TOKEN entries, either consecutive tokens of one request or one token each of
# several requests. Their rows are contiguous.
# Items are vectors of 16 channels. taps: (n, channels), the newest last. before, after: factors on the input and the
# result, for the gated variant.
CONVOLVE = Table(
    "source", "target", "channels", "taps", "bias", "before", "after", "tokens", "layer", "count"
)
# Items are parts of value heads. mixed: rows of all queries, keys, values. step, write: one number per head.
# key_of: 64-bit indices.
DELTA = Table(
    "mixed", "step", "write", "decay", "step_bias", "key_of", "target", "tokens", "layer", "count",
    "key_heads", "value_heads", "key_dim", "value_dim",
)  # fmt: skip
# Items are heads. mixed: rows of x, B and C. step: one number per head.
MAMBA2 = Table(
    "mixed",
    "step",
    "decay",
    "step_bias",
    "skip",
    "target",
    "tokens",
    "layer",
    "count",
    "heads",
    "head_dim",
    "groups",
)
# Items are channels. value, step: one number per channel. decay: (channels, size).
MAMBA = Table(
    "value", "step", "into", "out_of", "decay", "skip", "target", "tokens", "layer", "count", "channels"
)


def convolution_kernel(processor: Processor, taps: int, *, gated: bool) -> str:
    """The LLVM module for silu(Σ tap · input + bias), or gated after · Σ tap · (before · input). taps: at least 2."""
    emit = Emitter(ir.Module(f"convolution-{taps}"), NAME, ARGUMENTS, processor)
    source, target, channels, weights, bias, before, after, tokens, layer, count = (
        CONVOLVE.read(emit, name) for name in CONVOLVE.names
    )
    row_bytes = channels * 4
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        at = item * (4 * LANES)
        with emit.loop(emit.index(0), count) as token:
            behind = token * row_bytes + at
            past = cached_address(emit, tokens + token * TOKEN_BYTES, layer) + at
            x = emit.load(source + behind, FLOAT, LANES)
            x = x * emit.load(before + behind, FLOAT, LANES) if gated else x
            window = [*(emit.load(past + row_bytes * n, FLOAT, LANES) for n in range(taps - 1)), x]
            total = emit.zeros(LANES) if gated else emit.load(bias + at, FLOAT, LANES)
            for n, value in enumerate(window):
                total = emit.fma(emit.load(weights + row_bytes * n + at, FLOAT, LANES), value, total)
            for n, value in enumerate(window[1:]):
                emit.store(value, past + row_bytes * n)
            made = (
                total * emit.load(after + behind, FLOAT, LANES) if gated else ACTIVATIONS["silu"](emit, total)
            )
            emit.store(made, target + behind)
    emit.ret()
    return str(emit.module)


def delta_part(value_dim: int) -> int:
    """Value channels that one item takes."""
    return next(width for width in (WIDEST, 32, LANES) if value_dim % width == 0)


def delta_kernel(processor: Processor, width: int) -> str:
    """The LLVM module for a gated delta net. width: from `delta_part`. Head widths must be multiples of 16."""
    emit = Emitter(ir.Module(f"delta-{width}"), NAME, ARGUMENTS, processor)
    mixed, step, write, decay, step_bias, key_of, target, tokens, layer, count = (
        DELTA.read(emit, name) for name in DELTA.names[:10]
    )
    key_heads, value_heads, key_dim, value_dim = (DELTA.read(emit, name) for name in DELTA.names[10:])
    parts = range(0, width, LANES)
    output, read = ([emit.variable(emit.zeros(LANES)) for _ in parts] for _ in range(2))
    squares = [emit.variable(emit.zeros(LANES)) for _ in range(3)]
    row_bytes, keys_bytes = value_dim * 4, key_heads * key_dim * 4
    mixed_bytes = keys_bytes * 2 + value_heads * row_bytes
    of_a_head = emit.wrap(emit.builder.udiv(value_dim.ir, emit.index(width).ir))
    of_width = _inverse_root(emit, emit.wrap(emit.builder.sitofp(key_dim.ir, FLOAT)), 0.0)
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        head = emit.wrap(emit.builder.udiv(item.ir, of_a_head.ir))
        column = (item - head * of_a_head) * (4 * width)
        of_keys = emit.load(key_of + head * 8, INDEX) * key_dim * 4
        with emit.loop(emit.index(0), count) as token:
            memory = (
                cached_address(emit, tokens + token * TOKEN_BYTES, layer, 1)
                + head * key_dim * row_bytes
                + column
            )
            q = mixed + token * mixed_bytes + of_keys
            k, v = q + keys_bytes, mixed + token * mixed_bytes + keys_bytes * 2 + head * row_bytes + column
            number = (token * value_heads + head) * 4
            heat = emit.load(step + number, FLOAT) + emit.load(step_bias + head * 4, FLOAT)
            kept = _exp(emit, emit.load(decay + head * 4, FLOAT) * _softplus(emit, heat))
            written = ACTIVATIONS["sigmoid"](emit, emit.load(write + number, FLOAT).spread(NARROW))[0]
            of_q, of_k, both = _dot_products(emit, q, k, key_dim, squares)
            of_q, both = of_q * of_width, both * of_q * of_k * of_width
            _read_twice(emit, (q, k), memory, key_dim, row_bytes, (read, output))
            for part, of_said, of_read in zip(parts, output, read, strict=True):
                new = (emit.load(v, FLOAT, LANES, 4 * part) - of_said.value * (kept * of_k)) * written
                out = emit.fma(both, new, of_read.value * (kept * of_q))
                emit.store(out, target + (token * value_heads + head) * row_bytes + column, 4 * part)
                of_said.value = new * of_k
            with emit.loop(emit.index(0), key_dim) as channel:
                b, row = emit.load(k + channel * 4, FLOAT), memory + channel * row_bytes
                for part, of_said in zip(parts, output, strict=True):
                    weights = emit.load(row, FLOAT, LANES, 4 * part)
                    emit.store(emit.fma(b, of_said.value, weights * kept), row, 4 * part)
    emit.ret()
    return str(emit.module)


def _dot_products(
    emit: Emitter, q: Value, k: Value, width: Value, squares: list[Variable]
) -> tuple[Value, Value, Value]:
    """1 / |q|, 1 / |k| and q · k. squares: three variables for the sums."""
    for variable in squares:
        variable.value = emit.zeros(LANES)
    with emit.loop(emit.index(0), width, LANES) as first:
        a, b = (emit.load(one + first * 4, FLOAT, LANES) for one in (q, k))
        for variable, (left, right) in zip(squares, ((a, a), (b, b), (a, b)), strict=True):
            variable.value = emit.fma(left, right, variable.value)
    of_q, of_k, both = (emit.total(variable.value) for variable in squares)
    return _inverse_root(emit, of_q), _inverse_root(emit, of_k), both


def _read_twice(
    emit: Emitter,
    vectors: tuple[Value, Value],
    memory: Value,
    rows: Value,
    row_bytes: Value,
    sums: tuple[list[Variable], list[Variable]],
) -> None:
    """Multiply two vectors by the rows of a state, reading it once."""
    for variable in (*sums[0], *sums[1]):
        variable.value = emit.zeros(LANES)
    with emit.loop(emit.index(0), rows) as row:
        factors = [emit.load(vector + row * 4, FLOAT) for vector in vectors]
        for part in range(len(sums[0])):
            weights = emit.load(memory + row * row_bytes, FLOAT, LANES, 4 * LANES * part)
            for factor, variables in zip(factors, sums, strict=True):
                variables[part].value = emit.fma(factor, weights, variables[part].value)


def mamba2_kernel_name(size: int, least_step: float) -> str:
    """The kernel's name."""
    return f"space-of-heads-{size}" + (f"-steps-from-{least_step}" if least_step else "")


def mamba2_kernel(processor: Processor, size: int, least_step: float) -> str:
    """The LLVM module for Mamba 2, with `size` state values per channel, a multiple of 16."""
    emit = Emitter(ir.Module(mamba2_kernel_name(size, least_step)), NAME, ARGUMENTS, processor)
    mixed, step, decay, step_bias, skip, target, tokens, layer, count, heads, head_dim, groups = (
        MAMBA2.read(emit, name) for name in MAMBA2.names
    )
    inner = heads * head_dim
    channels = inner + groups * (2 * size)
    of_a_group = emit.wrap(emit.builder.udiv(heads.ir, groups.ir))
    sums = _chains(emit, size)
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as head:
        group = emit.wrap(emit.builder.udiv(head.ir, of_a_group.ir)) * (4 * size)
        with emit.loop(emit.index(0), count) as token:
            memory = cached_address(emit, tokens + token * TOKEN_BYTES, layer, 1)
            row = mixed + token * channels * 4
            into, out_of = row + inner * 4 + group, row + (inner + groups * size) * 4 + group
            heat = emit.load(step + (token * heads + head) * 4, FLOAT) + emit.load(
                step_bias + head * 4, FLOAT
            )
            stepped = _softplus(emit, heat)
            if least_step:
                stepped = emit.call("llvm.maxnum.f32", FLOAT, stepped, emit.constant(FLOAT, least_step))
            kept = _exp(emit, stepped * emit.load(decay + head * 4, FLOAT)).spread(LANES)
            with emit.loop(head * head_dim, (head + 1) * head_dim) as channel:
                x = emit.load(row + channel * 4, FLOAT)
                own = memory + channel * (4 * size)
                output = _advance(emit, own, [kept] * (size // LANES), x * stepped, into, out_of, sums)
                result = output + emit.load(skip + head * 4, FLOAT) * x
                emit.store(result, target + (token * inner + channel) * 4)
    emit.ret()
    return str(emit.module)


def mamba_kernel(processor: Processor, size: int) -> str:
    """The LLVM module for Mamba, with `size` state values per channel, a multiple of 16."""
    emit = Emitter(ir.Module(f"space-of-channels-{size}"), NAME, ARGUMENTS, processor)
    value, step, into, out_of, decay, skip, target, tokens, layer, count, channels = (
        MAMBA.read(emit, name) for name in MAMBA.names
    )
    sums = _chains(emit, size)
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as channel:
        behind = channel * (4 * size)
        with emit.loop(emit.index(0), count) as token:
            memory = cached_address(emit, tokens + token * TOKEN_BYTES, layer, 1)
            number = (token * channels + channel) * 4
            x, stepped = emit.load(value + number, FLOAT), _softplus(emit, emit.load(step + number, FLOAT))
            kept = [
                exp(emit, emit.load(decay + behind, FLOAT, LANES, 4 * part) * stepped)
                for part in range(0, size, LANES)
            ]
            shared = token * (4 * size)
            output = _advance(emit, memory + behind, kept, x * stepped, into + shared, out_of + shared, sums)
            emit.store(output + emit.load(skip + channel * 4, FLOAT) * x, target + number)
    emit.ret()
    return str(emit.module)


def _chains(emit: Emitter, size: int) -> list[Variable]:
    """Variables for independent sums, so that an addition need not wait for the previous one."""
    return [emit.variable(emit.zeros(LANES)) for _ in range(min(2, size // LANES))]


def _advance(
    emit: Emitter,
    memory: Value,
    kept: list[Value],
    x: Value,
    into: Value,
    out_of: Value,
    sums: list[Variable],
) -> Value:
    """Advance one channel's state, m = kept · m + x · B; return Σ m C."""
    for variable in sums:
        variable.value = emit.zeros(LANES)
    for number, factor in enumerate(kept):
        place = 4 * LANES * number
        old = emit.load(memory, FLOAT, LANES, place) * factor
        new = emit.fma(x, emit.load(into, FLOAT, LANES, place), old)
        emit.store(new, memory, place)
        total = sums[number % len(sums)]
        total.value = emit.fma(new, emit.load(out_of, FLOAT, LANES, place), total.value)
    both = sums[0].value
    for variable in sums[1:]:
        both = both + variable.value
    return emit.total(both)


def _exp(emit: Emitter, x: Value) -> Value:
    return exp(emit, x.spread(NARROW))[0]


def _softplus(emit: Emitter, x: Value) -> Value:
    """ln(1 + eˣ) of one number."""
    both = x.spread(NARROW)
    positive = emit.wrap(emit.builder.fcmp_ordered(">", x.ir, emit.constant(FLOAT, 0.0).ir))
    above = positive.choose(x, emit.constant(FLOAT, 0.0))
    return above + log1p(emit, exp(emit, both.magnitude() * -1.0))[0]


def _inverse_root(emit: Emitter, x: Value, eps: float = UNIT_EPS) -> Value:
    root = emit.call("llvm.sqrt.f32", FLOAT, x + eps)
    return divide(emit, emit.constant(FLOAT, 1.0), root)
