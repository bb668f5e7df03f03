"""The machine code that runs a program, a list of steps, on several threads without returning to Python.

A step is a kernel, its table, and how many items it has; threads take a few items at a time until none is left, and go
on when all are done. So a thread that the system has put aside delays only what it holds, and one that comes late finds
its place. Which thread did an item does not show in the result.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from llorch.formats.quants.vectors import INDEX, Value
from llorch.runtime.kernels.cpu.arguments import ARGUMENTS
from llorch.runtime.kernels.cpu.emit import VOID, Emitter
from llorch.runtime.kernels.cpu.processor import Processor

RUN, WORK = "run", "work"

LINE = 64  # bytes: what threads write to often lies apart from what they only read
# Of a step, in bytes: its kernel's address, its table's, its items, how many are taken at a time; then, on a line of
# their own, the next item and how many are done.
STEP_BYTES = 2 * LINE
KERNEL, TABLE, ITEMS, GRAIN, NEXT, DONE = 0, 8, 16, 24, LINE, LINE + 8
# Of the state that all threads share, each on its own line: how many programs were begun; whether one is running; how
# many threads are in it; which it is and its steps; the system's call that lets others run; whether to end.
STATE_BYTES = 6 * LINE
SEQUENCE, OPEN, INSIDE, PROGRAM, STEPS, YIELD, ENDING = 0, LINE, 2 * LINE, 3 * LINE, 3 * LINE + 8, 4 * LINE, 5 * LINE

# Looks at another thread's progress before others are let run in between; each takes some ten nanoseconds.
PATIENCE = 2000


def scheduler(processor: Processor) -> str:
    """The module's text, with `run(state, program, steps)` and `i64 work(state, thread, sequence, patience)`.

    run: resets a program, executes it as thread 0 together with those who work, and returns when it is done.
    work: executes what is begun after `sequence`, until nothing was begun for so many looks; returns the sequence
    that it saw last, or −1 where it is to end.
    """
    module = ir.Module("scheduler")
    execute = _execute(module, processor)
    _run(module, processor, execute)
    _work(module, processor, execute)
    return str(module)


def _execute(module: Any, processor: Processor) -> str:
    emit = Emitter(module, "execute", 4, processor)
    state, program, steps, thread = emit.arguments
    with emit.loop(emit.index(0), steps) as step:
        at = program + step * STEP_BYTES
        kernel, table, items, grain = (emit.load(at, INDEX, offset=o, align=8) for o in (KERNEL, TABLE, ITEMS, GRAIN))
        with _forever(emit) as stay_if:
            first = _added(emit, at, NEXT, grain)
            stay_if(emit.less(first, items))
            stop = emit.smaller(first + grain, items)
            emit.call_at(kernel, VOID, table, first, stop, thread)
            _added(emit, at, DONE, stop - first)
        _wait(emit, state, lambda: emit.less(_seen(emit, at, DONE), items))
    emit.back()
    emit.function.linkage = "internal"
    return "execute"


def _run(module: Any, processor: Processor, execute: str) -> None:
    emit = Emitter(module, RUN, 3, processor)
    state, program, steps = emit.arguments
    with emit.loop(emit.index(0), steps) as step:
        for counter in (NEXT, DONE):
            emit.store(emit.index(0), program + step * STEP_BYTES, counter)
    emit.store(program, state, PROGRAM)
    emit.store(steps, state, STEPS)
    _swapped(emit, state, OPEN, 1)
    _added(emit, state, SEQUENCE, emit.index(1))
    emit.call(execute, VOID, state, program, steps, emit.index(0))
    _swapped(emit, state, OPEN, 0)
    _wait(emit, state, lambda: emit.less(emit.index(0), _seen(emit, state, INSIDE)))
    emit.back()


def _work(module: Any, processor: Processor, execute: str) -> None:
    emit = Emitter(module, WORK, ARGUMENTS, processor, INDEX)
    state, thread, sequence, patience = emit.arguments
    last, looks = emit.variable(sequence), emit.variable(emit.index(0))
    with _forever(emit) as stay_if:
        looks.value = emit.index(0)
        with _forever(emit) as stay_while:
            unchanged = _seen(emit, state, SEQUENCE).equals(last.value)
            stay_while(emit.of(emit.builder.and_(unchanged.ir, emit.less(looks.value, patience).ir)))
            looks.value = looks.value + 1
            _breathe(emit, state, looks.value)
        seen = _seen(emit, state, SEQUENCE)
        changed = emit.of(emit.builder.not_(seen.equals(last.value).ir))
        stay_if(changed)
        last.value = seen
        ending = _seen(emit, state, ENDING).equals(1)
        with emit.when(ending):
            last.value = emit.index(-1)
        stay_if(emit.less(emit.index(-1), last.value))
        _added(emit, state, INSIDE, emit.index(1))
        with emit.when(_seen(emit, state, OPEN).equals(1)):
            program, steps = (emit.load(state, INDEX, offset=o, align=8) for o in (PROGRAM, STEPS))
            emit.call(execute, VOID, state, program, steps, thread)
        _added(emit, state, INSIDE, emit.index(-1))
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


def _seen(emit: Emitter, base: Value, offset: int) -> Value:
    place = emit.pointer(base, offset)
    return emit.of(emit.builder.load_atomic(place, "seq_cst", 8, typ=INDEX))


def _added(emit: Emitter, base: Value, offset: int, amount: Value) -> Value:
    """Adds for all threads to see; what was there before."""
    return emit.of(emit.builder.atomic_rmw("add", emit.pointer(base, offset), amount.ir, "seq_cst"))


def _swapped(emit: Emitter, base: Value, offset: int, value: int) -> None:
    emit.builder.atomic_rmw("xchg", emit.pointer(base, offset), emit.index(value).ir, "seq_cst")
