"""A pool of processes on this machine, each warm: what tasks import is imported once, before the first of them.

The standard library's pool is broken as a whole by the death of one worker. Here a worker that dies costs the task
that it ran, and is replaced.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any

from llorch.fleet.engines import EngineOptions, TaskResult, function_named
from llorch.fleet.plan import Needs

CLEANING_S = 10.0  # that a worker has to take away what it had begun, before it is killed


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    key: str | None = None


class LocalEngine:
    """`workers` processes at most, started as they are needed."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._context = _context(options.function)
        self._workers: list[_Worker] = []

    @property
    def slots(self) -> int:
        """As `Engine`."""
        return self._options.workers

    def submit(self, key: str, needs: Needs, payload: Mapping[str, Any]) -> None:  # noqa: ARG002  # the driver's node has room
        """As `Engine`; the driver asks for no more than `slots`."""
        while True:
            worker = next((one for one in self._workers if one.key is None), None) or self._start()
            try:
                worker.connection.send(payload)
            except OSError:  # it died while it waited
                self._remove(worker)
                continue
            worker.key = key
            return

    def results(self, timeout_s: float) -> Sequence[TaskResult]:
        """As `Engine`."""
        wait([worker.connection for worker in self._workers], timeout_s) if self._workers else _sleep(
            timeout_s
        )
        finished = []
        for worker in list(self._workers):
            if not worker.connection.poll():
                continue
            try:
                outcome: Mapping[str, Any] = worker.connection.recv()
            except (EOFError, OSError):
                self._remove(worker)
                if worker.key is not None:
                    finished.append(TaskResult(worker.key, None, _how_it_ended(worker.process)))
                continue
            assert worker.key is not None, "a worker speaks when it was asked"
            finished.append(TaskResult(worker.key, outcome))
            worker.key = None
        return finished

    def cancel(self, key: str) -> None:
        """As `Engine`: its worker ends, another takes its place when there is work."""
        for worker in [one for one in self._workers if one.key == key]:
            worker.process.terminate()
            self._remove(worker)

    def close(self) -> None:
        """As `Engine`."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in list(self._workers):
            self._remove(worker)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> _Worker:
        own, theirs = self._context.Pipe()
        process = self._context.Process(  # type: ignore[attr-defined]  # every context has it
            target=_serve, args=(theirs, self._options.function, self._options.log), daemon=False
        )
        process.start()
        theirs.close()
        worker = _Worker(process, own)
        self._workers.append(worker)
        return worker

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join(CLEANING_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _context(function: str) -> BaseContext:
    """A fork server that has imported what tasks import; where there is none, every worker imports it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.partition(":")[0]])
    return context


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


def _how_it_ended(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"its process was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"its process ended with status {code}"


def _serve(connection: Connection, function: str, log: str | None) -> None:
    """A worker's life: documents come, outcomes go, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to understand
    signal.signal(signal.SIGTERM, _leave)
    if log is not None:
        _write_to(log)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a driver"
    threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    run = function_named(function)
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(run(connection.recv()))


def _leave(number: int, _: FrameType | None) -> None:
    """SIGTERM: what a task holds is let go on the way out."""
    sys.exit(128 + number)


def _die_with(sentinel: int) -> None:
    """Ends this process with its driver, of which a kill leaves no other sign while a task runs."""
    wait([sentinel])
    os._exit(1)


def _write_to(log: str) -> None:
    """Lets everything that this process and its children print go to a file."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for standard in (1, 2):
        os.dup2(fd, standard)
    os.close(fd)
