"""The kernel for attention of new tokens over the cache; its items are (head, token) pairs.

Every token refers to its request's cache; tokens of one request share it, and see only positions up to their own.
"""

from __future__ import annotations

from llvmlite import ir

from llorch.formats.vector_code import FLOAT, INDEX, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, THREAD, Table
from llorch.runtime.kernels.cpu.emit import Emitter, Variable
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.functions import divide, exp, tanh
from llorch.runtime.kernels.cpu.steps.small_steps import LANES, NAME, TOKEN, TOKEN_BYTES, cached_address

# q: queries after RoPE; target: attention's output; in both, a token's head is row head · of_head + token · of_token.
# tokens: address of `count` TOKEN entries. group: query heads per KV head. window: positions that a query sees, 0 for
# all. scale: a float32's bits. together: 0 if the tokens belong to one request, and items are ordered by head; 1 if
# each belongs to its own, and items are ordered by token: so that keys are read again while they are cached.
ATTEND = Table(
    "q", "target", "tokens", "layer", "kv_heads", "group", "window", "count", "together", "of_head", "of_token",
    "scale", "softcap",
)  # fmt: skip

LOWEST = -3.0e38
# Keys at a time: their scores are stored as one vector.
TOGETHER = 4


def attention_kernel(
    processor: Processor, head_dim: int, *, capped: bool = False, latent: int | None = None
) -> str:
    """The LLVM module for softmax(scale · q Kᵀ) V, with scores capped by c · tanh(s / c) if `capped`.

    head_dim: a multiple of 16. latent: number of a key's channels that are also its value, a multiple of 16; None if
    separate values follow the keys.
    """
    module = ir.Module(f"attention-{head_dim}")
    emit = Emitter(module, NAME, ARGUMENTS, processor)
    q, target, tokens, layer, kv_heads, group, window, count, together, of_head, of_token = (
        ATTEND.read(emit, name) for name in ATTEND.names[:11]
    )
    value_dim = head_dim if latent is None else latent
    one_each, heads = emit.less(emit.index(0), together), kv_heads * group
    inner = one_each.choose(heads, count)
    parts = range(0, value_dim, LANES)
    mixed = [emit.variable(emit.zeros(LANES)) for _ in parts]
    top, total = emit.variable(emit.zeros(LANES)), emit.variable(emit.zeros(LANES))
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as item:
        outer = emit.wrap(emit.builder.udiv(item.ir, inner.ir))
        rest = item - outer * inner
        head, place = one_each.choose(rest, outer), one_each.choose(outer, rest)
        token = tokens + place * TOKEN_BYTES
        planned, position, scores, capacity = (
            emit.load(token, INDEX, offset=8 * TOKEN.slot(n)) for n in TOKEN.names[1:]
        )
        row = scores + emit.arguments[THREAD] * capacity * 4
        own = head * of_head + place * of_token
        seen = position + 1
        oldest = emit.less(emit.index(0), window).choose(seen - window, emit.index(0))
        oldest = emit.less(oldest, emit.index(0)).choose(emit.index(0), oldest)
        kv = emit.wrap(emit.builder.udiv(head.ir, group.ir))
        head_bytes = planned * (4 * head_dim)
        keys = cached_address(emit, token, layer) + kv * head_bytes
        values = keys + kv_heads * head_bytes if latent is None else keys
        query = [
            emit.load(q + own * (4 * head_dim), FLOAT, LANES, 4 * part) for part in range(0, head_dim, LANES)
        ]
        _scores(emit, query, keys, row, oldest, seen)
        _top(emit, row, oldest, seen, top, capped=capped)
        highest = emit.call(f"llvm.vector.reduce.fmax.v{LANES}f32", FLOAT, top.value)
        total.value = emit.zeros(LANES)
        with emit.loop(oldest, seen, LANES) as at:
            power = exp(emit, emit.load(row + at * 4, FLOAT, LANES) - highest)
            power = _within(emit, at, seen).choose(power, emit.zeros(LANES))
            emit.store(power, row + at * 4)
            total.value = total.value + power
        for variable in mixed:
            variable.value = emit.zeros(LANES)
        with emit.loop(oldest, seen) as at:
            weight, value = emit.load(row + at * 4, FLOAT), values + at * (4 * head_dim)
            for part, variable in zip(parts, mixed, strict=True):
                variable.value = emit.fma(weight, emit.load(value, FLOAT, LANES, 4 * part), variable.value)
        inverse = divide(emit, emit.constant(FLOAT, 1.0), emit.total(total.value))
        for part, variable in zip(parts, mixed, strict=True):
            emit.store(variable.value * inverse, target + own * (4 * value_dim), 4 * part)
    emit.ret()
    return str(module)


def _scores(emit: Emitter, query: list[Value], keys: Value, row: Value, oldest: Value, seen: Value) -> None:
    """Emit scale · q k for every key, TOGETHER at a time and the remainder one by one."""
    head_bytes = 4 * LANES * len(query)
    scale = ATTEND.read(emit, "scale", FLOAT)
    whole = seen - ((seen - oldest) & (TOGETHER - 1))
    with emit.loop(oldest, whole, TOGETHER) as at:
        sums = [_product(emit, query, keys + (at + i) * head_bytes) for i in range(TOGETHER)]
        emit.store(_four_totals(sums) * scale, row + at * 4)
    with emit.loop(whole, seen) as at:
        emit.store(emit.total(_product(emit, query, keys + at * head_bytes)) * scale, row + at * 4)


def _product(emit: Emitter, query: list[Value], key: Value) -> Value:
    total = query[0] * emit.load(key, FLOAT, LANES)
    for part, channels in enumerate(query[1:], 1):
        total = emit.fma(channels, emit.load(key, FLOAT, LANES, 4 * LANES * part), total)
    return total


def _four_totals(sums: list[Value]) -> Value:
    """The totals of four vectors, in the lanes of one; adds in the same order as `Emitter.total`."""
    while sums[0].lanes > 1:
        middle = sums[0].lanes // 2
        sums = [values[:middle] + values[middle:] for values in sums]
    first, second, third, fourth = sums
    return first.concat(second).concat(third.concat(fourth))


def _top(emit: Emitter, row: Value, oldest: Value, seen: Value, top: Variable, *, capped: bool) -> None:
    """Cap the scores if asked for, and find the largest."""
    top.value = emit.constant(top.value.ir.type, LOWEST)
    with emit.loop(oldest, seen, LANES) as at:
        score = emit.load(row + at * 4, FLOAT, LANES)
        if capped:
            cap = ATTEND.read(emit, "softcap", FLOAT).spread(LANES)
            score = tanh(emit, divide(emit, score, cap)) * cap
            emit.store(score, row + at * 4)
        score = _within(emit, at, seen).choose(score, emit.constant(score.ir.type, LOWEST))
        top.value = emit.call(f"llvm.maxnum.v{LANES}f32", score.ir.type, score, top.value)


def _within(emit: Emitter, at: Value, seen: Value) -> Value:
    """A mask of the lanes whose position, from `at` on, is before `seen`."""
    count = (seen - at).narrow(32).spread(LANES)
    numbers = emit.constant(count.ir.type, list(range(LANES)))
    return emit.wrap(emit.builder.icmp_signed("<", numbers.ir, count.ir))
