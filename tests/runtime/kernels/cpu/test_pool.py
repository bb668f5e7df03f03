"""The thread pool runs every item of a program exactly once, on any thread and with concurrent callers."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llorch.base.cores import allowed_cores
from llorch.runtime.kernels.cpu.pool import Pool, Program, Step, pool

SIGNATURE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


@pytest.fixture(scope="module", params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Pool:
    """A pool, also with more threads than this machine may have."""
    return Pool(request.param)


def step_of(function: Callable[[int, int, int, int], None], items: int, grain: int) -> tuple[Step, Any]:
    """A step that calls back into Python, and the objects to keep alive for it."""
    call = SIGNATURE(function)
    address = ctypes.cast(call, ctypes.c_void_p).value
    assert address is not None
    return Step(address, np.zeros(1, np.int64), items, grain), call


@pytest.mark.parametrize(("items", "grain"), [(0, 1), (1, 1), (7, 3), (100, 1), (100, 7), (5, 100)])
def test_every_item_is_done_once(threads: Pool, items: int, grain: int) -> None:
    done: list[int] = []
    step, _alive = step_of(lambda _t, start, stop, _n: done.extend(range(start, stop)), items, grain)
    for _ in range(20):
        done.clear()
        threads.run(Program([step]))
        assert sorted(done) == list(range(items))


@pytest.mark.parametrize(("items", "grain"), [(100, 1), (100, 7), (5, 100)])
def test_a_thread_takes_a_share_of_the_remaining_items(threads: Pool, items: int, grain: int) -> None:
    taken: list[tuple[int, int]] = []
    step, _alive = step_of(lambda _t, start, stop, _n: taken.append((start, stop)), items, grain)
    threads.run(Program([step]))
    for start, stop in taken:
        left = items - start
        assert stop - start == min(left, max(grain, left // (2 * threads.threads)))


def test_a_step_begins_when_the_previous_one_is_done(threads: Pool) -> None:
    log: list[int] = []

    def slow(_table: int, start: int, stop: int, _thread: int) -> None:
        if start == 0:
            time.sleep(0.01)
        log.extend([0] * (stop - start))

    steps = [
        step_of(slow, 4, 1),
        step_of(lambda _t, start, stop, _n: log.extend([1] * (stop - start)), 3, 1),
        step_of(lambda _t, start, stop, _n: log.extend([2] * (stop - start)), 2, 1),
    ]
    program = Program([step for step, _ in steps])
    for _ in range(5):
        log.clear()
        threads.run(program)
        assert log == [0] * 4 + [1] * 3 + [2] * 2


def test_a_program_can_be_run_again_at_once_and_after_a_pause(threads: Pool) -> None:
    count: list[int] = []
    step, _alive = step_of(lambda _t, start, stop, _n: count.append(stop - start), 13, 2)
    program = Program([step] * 3)
    for turn in range(200):
        threads.run(program)
        if turn % 100 == 50:
            time.sleep(0.02)  # long enough for the others to fall asleep
    assert sum(count) == 200 * 3 * 13


def test_concurrent_callers_wait_for_each_other(threads: Pool) -> None:
    inside, most = [0], [0]

    def item(*_: int) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        inside[0] -= 1

    step, _alive = step_of(item, 6, 6)

    def call() -> None:
        for _ in range(30):
            threads.run(Program([step]))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert not any(caller.is_alive() for caller in callers)
    assert most == [1]


def test_a_process_has_one_pool_per_size_limited_to_its_cores() -> None:
    assert pool(1) is pool(1)
    assert pool(10**6).threads == allowed_cores()
