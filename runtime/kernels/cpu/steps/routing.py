"""Kernels for a mixture of experts: choosing experts, copying rows to them, and combining their results."""

from __future__ import annotations

from typing import Literal

from llvmlite import ir

from llorch.formats.vector_code import FLOAT, INDEX, WORD, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS, START, STOP, Table
from llorch.runtime.kernels.cpu.emit import Emitter, Variable
from llorch.runtime.kernels.cpu.processor import Processor
from llorch.runtime.kernels.cpu.steps.functions import divide, exp
from llorch.runtime.kernels.cpu.steps.segments import SEGMENT, SEGMENT_BYTES
from llorch.runtime.kernels.cpu.steps.small_steps import ACTIVATIONS, LANES, NAME

NARROW = 4  # lanes for scalar computations
LOWEST = -3.0e38
SMALLEST_SUM = 1e-20  # `llorch.runtime.blocks.experts`

# Items are tokens. scores: of all experts; overwritten by probabilities. worth: a buffer of the same size. bias:
# address of a float32 per expert, added to probabilities for the choice only, or 0. chosen, weights: `used` 64-bit
# indices and float32 per token; scale: a float32's bits, factor on the weights.
ROUTE = Table("scores", "worth", "bias", "experts", "chosen", "weights", "used", "renormalised", "scale")
# A single item. chosen: the expert of each of `pairs` (token, expert) pairs. places: receives each pair's row, a 64-bit
# index. segments: receives a SEGMENT per chosen expert, up to `active`; the others get a count of 0. counts: a buffer
# for an index per expert. A segment's rows are padded to a multiple of `few`, or of `many` if it has at
# least `least`.
GROUP = Table("chosen", "pairs", "experts", "places", "segments", "active", "counts", "least", "few", "many")
# Items are pairs: each receives a copy of its token's row, whose size is a multiple of four bytes.
SPREAD = Table("source", "target", "row_bytes", "places", "used")
# Items are tokens: target = before + Σ weight · source, over the rows of its pairs. before: an address, or 0.
COMBINE = Table("source", "target", "before", "places", "weights", "used", "width")


def route_kernel(processor: Processor, scores: Literal["softmax", "sigmoid"]) -> str:
    """The LLVM module: probabilities of all experts, then the `used` largest with their bias, ties by lowest index."""
    emit = Emitter(ir.Module(f"route-{scores}"), NAME, ARGUMENTS, processor)
    all_scores, all_worth, bias, experts, all_chosen, all_weights, used, renormalised = (
        ROUTE.read(emit, name) for name in ROUTE.names[:8]
    )
    best, whole = (emit.variable(emit.constant(FLOAT, 0.0)) for _ in range(2))
    at = emit.variable(emit.index(0))
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as token:
        probabilities, worth = all_scores + token * experts * 4, all_worth + token * experts * 4
        chosen, weights = all_chosen + token * used * 8, all_weights + token * used * 4
        PROBABILITIES[scores](emit, probabilities, experts, whole)
        with emit.loop(emit.index(0), experts) as expert:
            best.value = emit.load(probabilities + expert * 4, FLOAT)
            with emit.when(emit.less(emit.index(0), bias)):
                best.value = best.value + emit.load(bias + expert * 4, FLOAT)
            emit.store(best.value, worth + expert * 4)
        whole.value = emit.constant(FLOAT, SMALLEST_SUM)
        with emit.loop(emit.index(0), used) as place:
            best.value, at.value = emit.constant(FLOAT, LOWEST), emit.index(0)
            with emit.loop(emit.index(0), experts) as expert:
                one = emit.load(worth + expert * 4, FLOAT)
                above = emit.wrap(emit.builder.fcmp_ordered(">", one.ir, best.value.ir))
                best.value, at.value = above.choose(one, best.value), above.choose(expert, at.value)
            emit.store(emit.constant(FLOAT, LOWEST), worth + at.value * 4)
            weight = emit.load(probabilities + at.value * 4, FLOAT)
            whole.value = whole.value + weight
            emit.store(at.value, chosen + place * 8)
            emit.store(weight, weights + place * 4)
        divisor = emit.less(emit.index(0), renormalised).choose(whole.value, emit.constant(FLOAT, 1.0))
        with emit.loop(emit.index(0), used) as place:
            weight = divide(emit, emit.load(weights + place * 4, FLOAT), divisor)
            emit.store(weight * ROUTE.read(emit, "scale", FLOAT), weights + place * 4)
    emit.ret()
    return str(emit.module)


def _softmax(emit: Emitter, scores: Value, experts: Value, number: Variable) -> None:
    number.value = emit.load(scores, FLOAT)
    with emit.loop(emit.index(0), experts) as expert:
        score = emit.load(scores + expert * 4, FLOAT)
        above = emit.wrap(emit.builder.fcmp_ordered(">", score.ir, number.value.ir))
        number.value = above.choose(score, number.value)
    largest, number.value = number.value, emit.constant(FLOAT, 0.0)
    with emit.loop(emit.index(0), experts) as expert:
        power = exp(emit, (emit.load(scores + expert * 4, FLOAT) - largest).spread(NARROW))[0]
        emit.store(power, scores + expert * 4)
        number.value = number.value + power
    with emit.loop(emit.index(0), experts) as expert:
        emit.store(divide(emit, emit.load(scores + expert * 4, FLOAT), number.value), scores + expert * 4)


def _sigmoid(emit: Emitter, scores: Value, experts: Value, _: Variable) -> None:
    with emit.loop(emit.index(0), experts) as expert:
        score = emit.load(scores + expert * 4, FLOAT).spread(NARROW)
        emit.store(ACTIVATIONS["sigmoid"](emit, score)[0], scores + expert * 4)


PROBABILITIES = {"softmax": _softmax, "sigmoid": _sigmoid}


def group_kernel(processor: Processor) -> str:
    """The LLVM module: counts each expert's pairs, assigns rows to experts, and a row to each pair."""
    emit = Emitter(ir.Module("group"), NAME, ARGUMENTS, processor)
    chosen, pairs, experts, places, segments, active, counts, least, few, many = (
        GROUP.read(emit, name) for name in GROUP.names
    )
    zero, one = emit.index(0), emit.index(1)
    with emit.loop(zero, experts) as expert:
        emit.store(zero, counts + expert * 8)
    with emit.loop(zero, pairs) as pair:
        at = counts + emit.load(chosen + pair * 8, INDEX) * 8
        emit.store(emit.load(at, INDEX) + one, at)
    first, segment = emit.variable(zero), emit.variable(zero)
    first.value = segment.value = zero
    with emit.loop(zero, experts) as expert:
        count = emit.load(counts + expert * 8, INDEX)
        emit.store(first.value, counts + expert * 8)
        with emit.when(emit.less(zero, count)):
            values = {"matrix": expert, "first": first.value, "count": count}
            for name, value in values.items():
                emit.store(value, segments + segment.value * SEGMENT_BYTES, 8 * SEGMENT.slot(name))
            whole = emit.less(count, least).choose(few, many)
            rounded = emit.wrap(emit.builder.udiv((count + whole - one).ir, whole.ir)) * whole
            first.value, segment.value = first.value + rounded, segment.value + one
    with emit.loop(segment.value, active) as empty:
        emit.store(zero, segments + empty * SEGMENT_BYTES, 8 * SEGMENT.slot("count"))
    with emit.loop(zero, pairs) as pair:
        at = counts + emit.load(chosen + pair * 8, INDEX) * 8
        place = emit.load(at, INDEX)
        emit.store(place, places + pair * 8)
        emit.store(place + one, at)
    emit.ret()
    return str(emit.module)


def spread_kernel(processor: Processor) -> str:
    """The LLVM module: copies a token's row to each of its pairs."""
    emit = Emitter(ir.Module("spread"), NAME, ARGUMENTS, processor)
    source, target, row_bytes, places, used = (SPREAD.read(emit, name) for name in SPREAD.names)
    with emit.loop(emit.arguments[START], emit.arguments[STOP]) as pair:
        begin = source + emit.wrap(emit.builder.udiv(pair.ir, used.ir)) * row_bytes
        end = target + emit.load(places + pair * 8, INDEX) * row_bytes
        with emit.loop(emit.index(0), row_bytes, 4) as behind:
            emit.store(emit.load(begin + behind, WORD), end + behind)
    emit.ret()
    return str(emit.module)


def combine_kernel(processor: Processor) -> str:
    """The LLVM module: the weighted sum of the results of a token's experts, in the order of choice."""
    emit = Emitter(ir.Module("combine"), NAME, ARGUMENTS, processor)
    source, target, before, places, weights, used, width = (
        COMBINE.read(emit, name) for name in COMBINE.names
    )
    total = emit.variable(emit.zeros(LANES))
    with (
        emit.loop(emit.arguments[START], emit.arguments[STOP]) as token,
        emit.loop(emit.index(0), width, LANES) as channel,
    ):
        behind = (token * width + channel) * 4
        total.value = emit.zeros(LANES)
        with emit.when(emit.less(emit.index(0), before)):
            total.value = emit.load(before + behind, FLOAT, LANES)
        with emit.loop(token * used, token * used + used) as pair:
            row = source + (emit.load(places + pair * 8, INDEX) * width + channel) * 4
            weight = emit.load(weights + pair * 4, FLOAT)
            total.value = emit.fma(emit.load(row, FLOAT, LANES), weight, total.value)
        emit.store(total.value, target + behind)
    emit.ret()
    return str(emit.module)
