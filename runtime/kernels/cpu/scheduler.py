"""Machine code that runs a program, which is a list of steps, on several threads without returning to Python.

A step is a kernel, its table, and a number of items. Threads repeatedly take a share of the remaining items, and go on
to the next step when all are done. Shares begin large, since a thread reads contiguous memory fastest, and become
small, so that threads finish together. A thread that the system has suspended delays only the share it holds, and a
late one joins in. The result does not depend on which thread computes an item.
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

LINE = 64  # bytes; data that threads often write is on separate lines from data that they only read
# A step's fields, at byte offsets: address of its kernel and of its table, number of items, fewest items per share, how
# many steps up to it must be complete before the next begins; on a line of its own, the next item and the items done.
STEP_BYTES = 2 * LINE
KERNEL, TABLE, ITEMS, GRAIN, WAITS, NEXT, DONE = 0, 8, 16, 24, 32, LINE, LINE + 8
# The upper half of both counters is the run's number.
# The threads' shared state, each field on its own line: number of the last run; number of threads that may be reading a
# program; the program last begun, and its steps; address of the yielding system call, and the divisor for shares: a
# thread takes the remaining items divided by it.
STATE_BYTES = 4 * LINE
SEQUENCE, INSIDE, PROGRAM, STEPS, YIELD, SHARES = 0, LINE, 2 * LINE, 2 * LINE + 8, 3 * LINE, 3 * LINE + 8

# Number of polls before yielding to other threads; each takes about ten nanoseconds.
PATIENCE = 2000


def scheduler(processor: Processor) -> str:
    """The LLVM module, with `run(state, program, steps)` and `i64 work(state, thread, sequence, patience)`.

    run: runs a program as thread 0, together with the threads in `work`, and returns when it is done. A program's
    memory must stay valid until no thread is inside.
    work: joins every run after number `sequence`, until none has begun for `patience` polls; returns the number
    of the last run that it saw.
    """
    module = ir.Module("scheduler")
    _execute(module, processor)
    _run(module, processor)
    _work(module, processor)
    return str(module)


def _execute(module: Any, processor: Processor) -> None:
    """execute(state, program, steps, thread, run): run a program, or what is left of it."""
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
            share = emit.wrap(emit.builder.udiv((items - first).ir, shares.ir))
            stop = emit.minimum(first + emit.less(share, grain).choose(grain, share), items)
            with emit.when(_compare_exchange(emit, at, NEXT, seen, seen - first + stop)):
                emit.call_at(kernel, VOID, table, first, stop, thread)
                _fetch_add(emit, at, DONE, stop - first)
        with emit.loop(emit.index(0), emit.load(at, INDEX, offset=WAITS, align=8)) as before:
            earlier = at - before * STEP_BYTES
            count = emit.load(earlier, INDEX, offset=ITEMS, align=8)
            _wait(emit, state, lambda: _is_unfinished(emit, earlier, count, run))
        # a later run has begun with this program: the earlier one is complete
        late = (_load_shared(emit, at, DONE) >> 32).equals(run)
        step.value = late.choose(step.value + 1, steps)
    emit.ret()
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
            _store_shared(emit, program + step * STEP_BYTES, counter, run << 32)
    for value, offset in ((program, PROGRAM), (steps, STEPS), (run, SEQUENCE)):
        _store_shared(emit, state, offset, value)
    emit.call("execute", VOID, state, program, steps, emit.index(0), run)
    emit.ret()


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
            _pause(emit, state, looks.value)
        stay_if(emit.less(looks.value, patience))
        _fetch_add(emit, state, INSIDE, emit.index(1))
        run, program, steps = (_load_shared(emit, state, offset) for offset in (SEQUENCE, PROGRAM, STEPS))
        # the values read belong together if no other run began meanwhile
        with emit.when(_load_shared(emit, state, SEQUENCE).equals(run)):
            last.value = run
            emit.call("execute", VOID, state, program, steps, thread, run)
        _fetch_add(emit, state, INSIDE, emit.index(-1))
    emit.ret(last.value)


class _forever:  # noqa: N801  # it reads as a statement
    """A loop; it yields a function that leaves the loop unless the condition given to it holds."""

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
        _pause(emit, state, looks.value)


def _pause(emit: Emitter, state: Value, looks: Value) -> None:
    """Between two polls: pause the processor, and after PATIENCE polls yield to other threads."""
    if emit.processor.is_x86:
        emit.call("llvm.x86.sse2.pause", VOID)
    impatient = emit.less(emit.index(PATIENCE), looks)
    with emit.when(impatient):
        emit.call_at(emit.load(state, INDEX, offset=YIELD, align=8), ir.IntType(32))


def _load_shared(emit: Emitter, base: Value, offset: int) -> Value:
    place = emit.pointer(base, offset)
    return emit.wrap(emit.builder.load_atomic(place, "seq_cst", 8, typ=INDEX))


def _fetch_add(emit: Emitter, base: Value, offset: int, amount: Value) -> Value:
    """Atomically add; return the old value."""
    return emit.wrap(emit.builder.atomic_rmw("add", emit.pointer(base, offset), amount.ir, "seq_cst"))


def _store_shared(emit: Emitter, base: Value, offset: int, value: Value) -> None:
    emit.builder.atomic_rmw("xchg", emit.pointer(base, offset), value.ir, "seq_cst")


def _compare_exchange(emit: Emitter, base: Value, offset: int, old: Value, new: Value) -> Value:
    """Atomically replace the value if it is still `old`; return whether it was."""
    both = emit.builder.cmpxchg(emit.pointer(base, offset), old.ir, new.ir, "seq_cst", "seq_cst")
    return emit.wrap(emit.builder.extract_value(both, 1))


def _both(emit: Emitter, left: Value, right: Value) -> Value:
    return emit.wrap(emit.builder.and_(left.ir, right.ir))
