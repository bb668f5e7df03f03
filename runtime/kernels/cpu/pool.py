"""The thread pool that runs programs of kernels: shared by all models of a process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.base.cores import allowed_cores
from llorch.formats.vector_code import machine_code, this_machine
from llorch.runtime.kernels.cpu import scheduler
from llorch.runtime.kernels.cpu.processor import processor_of

# How often an idle thread looks for work before it sleeps: for about two milliseconds, the time from one token to the
# next.
LOOKS = 1 << 16


@dataclass(frozen=True, slots=True)
class Step:
    """A kernel's address and table, its number of items, and the fewest of them that a thread takes at a time.

    waits: how many steps, up to this one, must be complete before the next begins; 0 if the next depends on none of
    them.
    """

    kernel: int
    table: NDArray[np.int64]
    items: int
    grain: int = 1
    waits: int = 1


def independent(steps: Sequence[Step]) -> list[Step]:
    """Steps that are independent of each other: only the last waits, for all of them."""
    last = len(steps) - 1
    return [replace(step, waits=len(steps) if index == last else 0) for index, step in enumerate(steps)]


class Program:
    """Steps in the form that threads read. The caller must keep alive what the tables point to."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._memory, self.address = allocate_aligned(max(1, len(steps)) * scheduler.STEP_BYTES)
        self._tables = [step.table for step in steps]
        self.steps = len(steps)
        words = self._memory.view(np.int64)
        for index, step in enumerate(steps):
            at = index * scheduler.STEP_BYTES // 8
            words[at : at + 5] = (
                step.kernel,
                step.table.ctypes.data,
                step.items,
                max(1, step.grain),
                step.waits,
            )


def allocate_aligned(size: int) -> tuple[NDArray[np.uint8], int]:
    """Zeroed memory aligned to a cache line, and its address."""
    raw = np.zeros(size + scheduler.LINE, np.uint8)
    ahead = -raw.ctypes.data % scheduler.LINE
    return raw[ahead : ahead + size], raw.ctypes.data + ahead


class Pool:
    """A pool of `threads` threads, including the caller's. The others sleep while there is no work."""

    def __init__(self, threads: int) -> None:
        processor = processor_of(this_machine())
        name = f"scheduler-{processor.instructions}"
        self._code = machine_code(name, scheduler.scheduler(processor), processor.target)
        number = ctypes.c_int64
        self._run = ctypes.CFUNCTYPE(None, number, number, number)(self._code.address(scheduler.RUN))
        self._work = ctypes.CFUNCTYPE(number, *[number] * 4)(self._code.address(scheduler.WORK))
        self._memory, self._state = allocate_aligned(scheduler.STATE_BYTES)
        self._words = self._memory.view(np.int64)
        self._words[scheduler.YIELD // 8], self._library = _yielding()
        self._words[scheduler.SHARES // 8] = 2 * threads
        self._one_program, self._woken = threading.Lock(), threading.Condition()
        self._asleep = self._wakes = 0
        self._recent: list[Program] = []  # programs that a late thread may still be reading
        self.threads = threads
        for thread in range(1, threads):
            threading.Thread(
                target=self._worker, args=(thread,), daemon=True, name=f"kernels-{thread}"
            ).start()

    def run(self, program: Program) -> None:
        """Run a program to its end. Releases the GIL, so that other Python threads continue."""
        with self._one_program:
            if self._asleep:
                with self._woken:
                    self._wakes += 1
                    self._woken.notify_all()
            self._recent.append(program)
            self._run(self._state, program.address, program.steps)
            if not self._words[scheduler.INSIDE // 8]:
                del self._recent[:-1]

    def _worker(self, thread: int) -> None:
        sequence = 0
        while True:
            sequence = self._work(self._state, thread, sequence, LOOKS)
            with self._woken:
                seen = self._wakes
                self._asleep += 1
                while self._wakes == seen:
                    self._woken.wait()
                self._asleep -= 1


_pools: dict[tuple[int, int], Pool] = {}
_making = threading.Lock()


def pool(threads: int) -> Pool:
    """The process's pool with this many threads; a forked process gets its own."""
    threads = max(1, min(threads, allowed_cores()))
    with _making:
        key = os.getpid(), threads
        found = _pools.get(key)
        if found is None:
            found = _pools[key] = Pool(threads)
        return found


def _yielding() -> tuple[int, Any]:
    """The address of the system call that yields to other threads, and an object that must be kept alive."""
    if sys.platform == "win32":
        library: Any = ctypes.WinDLL("kernel32")
        call = library.SwitchToThread
    else:
        library = ctypes.CDLL(None)
        call = library.sched_yield
    address = ctypes.cast(call, ctypes.c_void_p).value
    assert address is not None
    return address, library
