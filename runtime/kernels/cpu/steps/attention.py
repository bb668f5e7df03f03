"""The kernel of attention of new tokens over the cache: its items are heads of tokens.

Every token has its own cache: those of one request share it, and each sees those before it.
"""

from __future__ import annotations

from llvmlite import ir

from llorch.formats.vector_code import FLOAT, INDEX, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, THREAD, Table
from llorch.runtime.kernels.cpu.emit import Emitter, Variable
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.functions import exponential, quotient, tangent
from llorch.runtime.kernels.cpu.steps.small_steps import LANES, NAME, TOKEN, TOKEN_BYTES, kept_of

# q: turned queries; target: what is mixed of the values; of both, a head of a token is row head · of_head + token ·
# of_token. tokens: the address of the
# first TOKEN of `count`. group: heads of queries that share one of keys. window: positions that a query sees, 0 for
# all. scale: a float32's bits. together: 0 where the tokens are of one request, and all of a head come before the next
# head; 1 where each is of its own, and all heads of it come before the next one: so that keys are read again soon.
ATTEND = Table(
    "q", "target", "tokens", "layer", "kv_heads", "group", "window", "count", "together", "of_head", "of_token",
    "scale", "softcap",
)  # fmt: skip

LOWEST = -3.0e38
# Keys at a time: their sums over channels go into one vector together.
TOGETHER = 4


def attention_kernel(
    processor: Processor, head_dim: int, *, capped: bool = False, latent: int | None = None
) -> str:
    """softmax(scale · q Kᵀ) V, the scores capped by c · tanh(s / c) before.

    head_dim: a multiple of 16. latent: how many channels of a key are its value too, a multiple of 16; None where
    values of their own follow the keys.
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
        outer = emit.of(emit.builder.udiv(item.ir, inner.ir))
        rest = item - outer * inner
        head, place = one_each.choose(rest, outer), one_each.choose(outer, rest)
        token = tokens + place * TOKEN_BYTES
        planned, position, scores, room = (
            emit.load(token, INDEX, offset=8 * TOKEN.slot(n)) for n in TOKEN.names[1:]
        )
        row = scores + emit.arguments[THREAD] * room * 4
        own = head * of_head + place * of_token
        seen = position + 1
        oldest = emit.less(emit.index(0), window).choose(seen - window, emit.index(0))
        oldest = emit.less(oldest, emit.index(0)).choose(emit.index(0), oldest)
        kv = emit.of(emit.builder.udiv(head.ir, group.ir))
        head_bytes = planned * (4 * head_dim)
        keys = kept_of(emit, token, layer) + kv * head_bytes
        values = keys + kv_heads * head_bytes if latent is None else keys
        query = [
            emit.load(q + own * (4 * head_dim), FLOAT, LANES, 4 * part) for part in range(0, head_dim, LANES)
        ]
        _scores(emit, query, keys, row, oldest, seen)
        _top(emit, row, oldest, seen, top, capped=capped)
        highest = emit.call(f"llvm.vector.reduce.fmax.v{LANES}f32", FLOAT, top.value)
        total.value = emit.zeros(LANES)
        with emit.loop(oldest, seen, LANES) as at:
            power = exponential(emit, emit.load(row + at * 4, FLOAT, LANES) - highest)
            power = _within(emit, at, seen).choose(power, emit.zeros(LANES))
            emit.store(power, row + at * 4)
            total.value = total.value + power
        for variable in mixed:
            variable.value = emit.zeros(LANES)
        with emit.loop(oldest, seen) as at:
            weight, value = emit.load(row + at * 4, FLOAT), values + at * (4 * head_dim)
            for part, variable in zip(parts, mixed, strict=True):
                variable.value = emit.fused(weight, emit.load(value, FLOAT, LANES, 4 * part), variable.value)
        inverse = quotient(emit, emit.constant(FLOAT, 1.0), emit.total(total.value))
        for part, variable in zip(parts, mixed, strict=True):
            emit.store(variable.value * inverse, target + own * (4 * value_dim), 4 * part)
    emit.back()
    return str(module)


def _scores(emit: Emitter, query: list[Value], keys: Value, row: Value, oldest: Value, seen: Value) -> None:
    """scale · q k of every key: some at a time, the last ones again one by one."""
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
        total = emit.fused(channels, emit.load(key, FLOAT, LANES, 4 * LANES * part), total)
    return total


def _four_totals(sums: list[Value]) -> Value:
    """The totals of four vectors, in one of four lanes; in the order in which `Emitter.total` adds."""
    while sums[0].lanes > 1:
        middle = sums[0].lanes // 2
        sums = [values[:middle] + values[middle:] for values in sums]
    first, second, third, fourth = sums
    return first.followed_by(second).followed_by(third.followed_by(fourth))


def _top(emit: Emitter, row: Value, oldest: Value, seen: Value, top: Variable, *, capped: bool) -> None:
    """Caps the scores, if they are, and finds the largest."""
    top.value = emit.constant(top.value.ir.type, LOWEST)
    with emit.loop(oldest, seen, LANES) as at:
        score = emit.load(row + at * 4, FLOAT, LANES)
        if capped:
            cap = ATTEND.read(emit, "softcap", FLOAT).spread(LANES)
            score = tangent(emit, quotient(emit, score, cap)) * cap
            emit.store(score, row + at * 4)
        score = _within(emit, at, seen).choose(score, emit.constant(score.ir.type, LOWEST))
        top.value = emit.call(f"llvm.maxnum.v{LANES}f32", score.ir.type, score, top.value)


def _within(emit: Emitter, at: Value, seen: Value) -> Value:
    """Which of the lanes from `at` on are before `seen`."""
    count = (seen - at).narrow(32).spread(LANES)
    numbers = emit.constant(count.ir.type, list(range(LANES)))
    return emit.of(emit.builder.icmp_signed("<", numbers.ir, count.ir))
