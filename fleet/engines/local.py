"""A pool of processes on this machine; the tasks' imports are loaded once, in the fork server.

The standard library's pool breaks as a whole when one worker dies. Here only the task of the dead worker is lost, and
the worker is replaced.
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

CLEANING_S = 10.0  # time for a terminated worker to clean up before it is killed


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    key: str | None = None


class LocalEngine:
    """At most `workers` processes, started as needed."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._context = _context(options.function)
        self._workers: list[_Worker] = []

    @property
    def slots(self) -> int:
        """See `Engine.slots`."""
        return self._options.workers

    def submit(self, key: str, needs: Needs, payload: Mapping[str, Any]) -> None:  # noqa: ARG002  # the driver checks its node
        """See `Engine.submit`; the driver submits no more than `slots` tasks."""
        while True:
            worker = next((one for one in self._workers if one.key is None), None) or self._start()
            try:
                worker.connection.send(payload)
            except OSError:  # the idle worker has died
                self._remove(worker)
                continue
            worker.key = key
            return

    def results(self, timeout_s: float) -> Sequence[TaskResult]:
        """See `Engine.results`."""
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
        """See `Engine.cancel`: ends the task's worker; another is started when needed."""
        for worker in [one for one in self._workers if one.key == key]:
            worker.process.terminate()
            self._remove(worker)

    def close(self) -> None:
        """See `Engine.close`."""
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
    """Return a fork server that preloads the function's module; where unavailable, spawn, where each worker imports."""
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
    """Run a worker: receive payloads and send outcomes until the driver closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
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
    """Exit on SIGTERM by SystemExit, so that the task's `finally` and `with` blocks clean up."""
    sys.exit(128 + number)


def _die_with(sentinel: int) -> None:
    """End this process when its driver dies: during a task, a killed driver would not be noticed otherwise."""
    wait([sentinel])
    os._exit(1)


def _write_to(log: str) -> None:
    """Redirect stdout and stderr of this process and its children to a file."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for standard in (1, 2):
        os.dup2(fd, standard)
    os.close(fd)
