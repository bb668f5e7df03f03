"""Threads that run programs of kernels: one pool for a process, however many models it holds."""

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

# How often a thread that has nothing to do looks for more before it sleeps: some two milliseconds, the time from one
# token to the next.
LOOKS = 1 << 16


@dataclass(frozen=True, slots=True)
class Step:
    """A kernel at an address, its table, the items that it has, and how many of them a thread takes at least.

    waits: of how many steps up to this one all items are done before the next begins; 0 where the next needs none of
    them.
    """

    kernel: int
    table: NDArray[np.int64]
    items: int
    grain: int = 1
    waits: int = 1


def together(steps: Sequence[Step]) -> list[Step]:
    """Steps that do not need each other's results: none waits, but for the last one, for all of them."""
    last = len(steps) - 1
    return [replace(step, waits=len(steps) if index == last else 0) for index, step in enumerate(steps)]


class Program:
    """Steps in the form that threads read; what the tables point to is the caller's to keep."""

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
    """So many bytes of zeros that begin with a cache line, and their address."""
    raw = np.zeros(size + scheduler.LINE, np.uint8)
    ahead = -raw.ctypes.data % scheduler.LINE
    return raw[ahead : ahead + size], raw.ctypes.data + ahead


class Pool:
    """`threads` of them, the caller's own among them. The others sleep while there is nothing to do."""

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
        self._recent: list[Program] = []  # what a late thread may still be reading
        self.threads = threads
        for thread in range(1, threads):
            threading.Thread(
                target=self._worker, args=(thread,), daemon=True, name=f"kernels-{thread}"
            ).start()

    def run(self, program: Program) -> None:
        """Executes a program to its end; without the interpreter's lock, so that other threads go on."""
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
    """The process's pool of so many threads; a fork has its own."""
    threads = max(1, min(threads, allowed_cores()))
    with _making:
        key = os.getpid(), threads
        found = _pools.get(key)
        if found is None:
            found = _pools[key] = Pool(threads)
        return found


def _yielding() -> tuple[int, Any]:
    """The address of the system's call that lets other threads run, and what must live as long as it is used."""
    if sys.platform == "win32":
        library: Any = ctypes.WinDLL("kernel32")
        call = library.SwitchToThread
    else:
        library = ctypes.CDLL(None)
        call = library.sched_yield
    address = ctypes.cast(call, ctypes.c_void_p).value
    assert address is not None
    return address, library
