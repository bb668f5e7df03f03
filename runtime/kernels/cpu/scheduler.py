"""The machine code that runs a program, a list of steps, on several threads without returning to Python.

A step is a kernel, its table, and how many items it has; threads take a share of what is left until nothing is, and go
on when all is done. Shares begin large, since a thread reads fastest what lies in one piece, and become small, so that
threads end together. So a thread that the system has put aside delays only what it holds, and one that comes late finds
its place. Which thread did an item does not show in the result.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from llorch.formats.vector_code import INDEX, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS
from llorch.runtime.kernels.cpu.emit import VOID, Emitter
from llorch.runtime.kernels.cpu.processor import Processor

RUN, WORK = "run", "work"

COUNT, RUNS = (1 << 32) - 1, (1 << 31) - 1

LINE = 64  # bytes: what threads write to often lies apart from what they only read
# Of a step, in bytes: its kernel's address, its table's, its items, how many are taken at least, of how many steps up
# to it all must be done before the next begins; then, on a line of their own, the next item and how many are done.
STEP_BYTES = 2 * LINE
KERNEL, TABLE, ITEMS, GRAIN, WAITS, NEXT, DONE = 0, 8, 16, 24, 32, LINE, LINE + 8
# Both counters have the run's number in their upper half.
# Of the state that all threads share, each on its own line: the number of the last run; how many threads may be reading
# a program; which was last begun, and its steps; the system's call that lets others run, and of what is left of a step
# a thread takes one part in so many.
STATE_BYTES = 4 * LINE
SEQUENCE, INSIDE, PROGRAM, STEPS, YIELD, SHARES = 0, LINE, 2 * LINE, 2 * LINE + 8, 3 * LINE, 3 * LINE + 8

# Looks at another thread's progress before others are let run in between; each takes some ten nanoseconds.
PATIENCE = 2000


def scheduler(processor: Processor) -> str:
    """The module's text, with `run(state, program, steps)` and `i64 work(state, thread, sequence, patience)`.

    run: executes a program as thread 0, together with those who work, and returns when it is done. A program's memory
    must stay until no thread is inside.
    work: executes what is begun after the run `sequence`, until nothing was begun for so many looks; returns the number
    of the run that it saw last.
    """
    module = ir.Module("scheduler")
    _execute(module, processor)
    _run(module, processor)
    _work(module, processor)
    return str(module)


def _execute(module: Any, processor: Processor) -> None:
    """execute(state, program, steps, thread, run): all of a program, or as much as there is left of it."""
    emit = Emitter(module, "execute", 5, processor)
    state, program, steps, thread, run = emit.arguments
    step, shares = emit.variable(emit.index(0)), emit.load(state, INDEX, offset=SHARES, align=8)
    with _forever(emit) as stay_if:
        stay_if(emit.less(step.value, steps))
        at = program + step.value * STEP_BYTES
        kernel, table, items, grain = (
            emit.load(at, INDEX, offset=o, align=8) for o in (KERNEL, TABLE, ITEMS, GRAIN)
        )
        with _forever(emit) as stay_while:
            seen = _load_shared(emit, at, NEXT)
            first = seen & COUNT
            stay_while(_both(emit, (seen >> 32).equals(run), emit.less(first, items)))
            share = emit.of(emit.builder.udiv((items - first).ir, shares.ir))
            stop = emit.smaller(first + emit.less(share, grain).choose(grain, share), items)
            with emit.when(_compare_exchange(emit, at, NEXT, seen, seen - first + stop)):
                emit.call_at(kernel, VOID, table, first, stop, thread)
                _fetch_add(emit, at, DONE, stop - first)
        with emit.loop(emit.index(0), emit.load(at, INDEX, offset=WAITS, align=8)) as before:
            earlier = at - before * STEP_BYTES
            count = emit.load(earlier, INDEX, offset=ITEMS, align=8)
            _wait(emit, state, lambda: _is_unfinished(emit, earlier, count, run))
        # a later run has begun with this program: nothing is left of the earlier one
        late = (_load_shared(emit, at, DONE) >> 32).equals(run)
        step.value = late.choose(step.value + 1, steps)
    emit.back()
    emit.function.linkage = "internal"


def _is_unfinished(emit: Emitter, at: Value, items: Value, run: Value) -> Value:
    seen = _load_shared(emit, at, DONE)
    return _both(emit, (seen >> 32).equals(run), emit.less(seen & COUNT, items))


def _run(module: Any, processor: Processor) -> None:
    emit = Emitter(module, RUN, 3, processor)
    state, program, steps = emit.arguments
    run = (_load_shared(emit, state, SEQUENCE) + 1) & RUNS
    with emit.loop(emit.index(0), steps) as step:
        for counter in (NEXT, DONE):
            _put(emit, program + step * STEP_BYTES, counter, run << 32)
    for value, offset in ((program, PROGRAM), (steps, STEPS), (run, SEQUENCE)):
        _put(emit, state, offset, value)
    emit.call("execute", VOID, state, program, steps, emit.index(0), run)
    emit.back()


def _work(module: Any, processor: Processor) -> None:
    emit = Emitter(module, WORK, ARGUMENTS, processor, INDEX)
    state, thread, sequence, patience = emit.arguments
    last, looks = emit.variable(sequence), emit.variable(emit.index(0))
    with _forever(emit) as stay_if:
        looks.value = emit.index(0)
        with _forever(emit) as stay_while:
            unchanged = _load_shared(emit, state, SEQUENCE).equals(last.value)
            stay_while(_both(emit, unchanged, emit.less(looks.value, patience)))
            looks.value = looks.value + 1
            _breathe(emit, state, looks.value)
        stay_if(emit.less(looks.value, patience))
        _fetch_add(emit, state, INSIDE, emit.index(1))
        run, program, steps = (_load_shared(emit, state, offset) for offset in (SEQUENCE, PROGRAM, STEPS))
        # what was read belongs together if no other run began meanwhile
        with emit.when(_load_shared(emit, state, SEQUENCE).equals(run)):
            last.value = run
            emit.call("execute", VOID, state, program, steps, thread, run)
        _fetch_add(emit, state, INSIDE, emit.index(-1))
    emit.back(last.value)


class _forever:  # noqa: N801  # it reads as a statement
    """A loop that ends where the condition given to what it yields is not met."""

    def __init__(self, emit: Emitter) -> None:
        self.emit = emit

    def __enter__(self) -> Any:
        emit = self.emit
        self.body, self.after = (emit.function.append_basic_block(name) for name in ("again", "out"))
        emit.builder.branch(self.body)
        emit.builder.position_at_end(self.body)

        def stay_if(condition: Value) -> None:
            stay = emit.function.append_basic_block("stay")
            emit.builder.cbranch(condition.ir, stay, self.after)
            emit.builder.position_at_end(stay)

        return stay_if

    def __exit__(self, *_: object) -> None:
        self.emit.builder.branch(self.body)
        self.emit.builder.position_at_end(self.after)


def _wait(emit: Emitter, state: Value, unfinished: Any) -> None:
    looks = emit.variable(emit.index(0))
    looks.value = emit.index(0)
    with _forever(emit) as stay_if:
        stay_if(unfinished())
        looks.value = looks.value + 1
        _breathe(emit, state, looks.value)


def _breathe(emit: Emitter, state: Value, looks: Value) -> None:
    """Between two looks: tells the processor that it waits, and after many the system too."""
    if emit.processor.is_x86:
        emit.call("llvm.x86.sse2.pause", VOID)
    impatient = emit.less(emit.index(PATIENCE), looks)
    with emit.when(impatient):
        emit.call_at(emit.load(state, INDEX, offset=YIELD, align=8), ir.IntType(32))


def _load_shared(emit: Emitter, base: Value, offset: int) -> Value:
    place = emit.pointer(base, offset)
    return emit.of(emit.builder.load_atomic(place, "seq_cst", 8, typ=INDEX))


def _fetch_add(emit: Emitter, base: Value, offset: int, amount: Value) -> Value:
    """Adds for all threads to see; what was there before."""
    return emit.of(emit.builder.atomic_rmw("add", emit.pointer(base, offset), amount.ir, "seq_cst"))


def _put(emit: Emitter, base: Value, offset: int, value: Value) -> None:
    emit.builder.atomic_rmw("xchg", emit.pointer(base, offset), value.ir, "seq_cst")


def _compare_exchange(emit: Emitter, base: Value, offset: int, old: Value, new: Value) -> Value:
    """Puts a value where still the old one is; whether it was."""
    both = emit.builder.cmpxchg(emit.pointer(base, offset), old.ir, new.ir, "seq_cst", "seq_cst")
    return emit.of(emit.builder.extract_value(both, 1))


def _both(emit: Emitter, left: Value, right: Value) -> Value:
    return emit.of(emit.builder.and_(left.ir, right.ir))
