"""Takes tasks one after another, has an engine run them, and writes how each ended: once, whoever else tries.

Any number of drivers may work on one plan and one folder. What one of them has claimed the others leave alone; of one
that falls silent they take it over. A driver ends when all its tasks have ended, whoever ended them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from llorch.fleet.batch_folder import BatchFolder
from llorch.fleet.claims import LEASE_S, STOPPED, Attempt, Claim
from llorch.fleet.engines import Engine, TaskResult
from llorch.fleet.node import Node
from llorch.fleet.plan import Needs, Task

RENEWALS = 6  # of a claim in one lease: the network may lose some of them
BACKOFF_S = (1.0, 5.0, 30.0)  # before the same driver tries a failed task again; another one may at once
NO_SPACE = "space"  # the reason of an outcome that says more of the node than of the task


@dataclass(frozen=True, slots=True)
class Settings:
    """retries: how many attempts more than one. poll_s: how long it waits at most between two looks at the claims."""

    retries: int = 2
    lease_s: float = LEASE_S
    poll_s: float = 1.0
    backoff_s: Sequence[float] = BACKOFF_S


@dataclass(slots=True)
class _Waiting:
    """A task that has not ended. not_before: by the monotonic clock, for this driver."""

    task: Task
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Left:
    """Tasks without a receipt when the driver ended, each with what this node lacks for it."""

    lacks: Mapping[str, str] = field(default_factory=dict)


class Driver:
    """Tasks, the folder that drivers share, and the engine that runs them.

    node: whose memory and disk tasks share; None where the engine places them on many. task_fields: what the engine's
    function is given beside the task itself. passes_over: why this node leaves a task to others, None if it does not.
    on_end: called with each task's receipt, those of others included.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        folder: BatchFolder,
        engine: Engine,
        node: Node | None = None,
        settings: Settings | None = None,
        *,
        task_fields: Mapping[str, Any] | None = None,
        passes_over: Callable[[Task], str | None] = lambda _: None,
        on_end: Callable[[Task, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._folder = folder
        self._claims = folder.claims(self._settings.lease_s)
        self._engine = engine
        self._node = node
        self._fields = dict(task_fields or {})
        self._passes_over = passes_over
        self._on_end = on_end
        longest_first = sorted(tasks, key=lambda task: (-task.needs.seconds, task.key))
        self._waiting = {task.key: _Waiting(task) for task in longest_first}
        self._running: dict[str, tuple[Task, Claim]] = {}
        self._renewed_at = time.monotonic()
        self._full_at: int | None = None  # bytes of disk for which this node turned out to have no room

    def run(self) -> Left:
        """Until every task has its receipt, or nothing of what is left fits this node and nobody else works on it.

        Raises OSError where the folder cannot be read or written. However it ends, its claims end with it.
        """
        try:
            while True:
                left = self._turn()
                if left is not None:
                    return left
                for finished in self._engine.results(self._settings.poll_s):
                    self._handle(finished)
        finally:
            self._engine.close()
            for _, claim in self._running.values():
                self._claims.end(claim, STOPPED)

    def _turn(self) -> Left | None:
        """One look at all that is shared: ends what has ended, renews what runs, begins what can be begun."""
        self._renew()
        attempts = self._without_ended(self._claims.look())
        if not self._waiting and not self._running:
            return Left()
        lacks: dict[str, str] = {}
        beside = self._beside(attempts)
        others_at_work = bool(beside)  # who hold what a task of ours may need
        for waiting in list(self._waiting.values()):
            task = waiting.task
            if len(self._running) >= self._engine.slots:
                return None
            if task.refused is not None:
                self._end(task, {"status": "refused", "reason": "refused", "message": task.refused})
                continue
            before = attempts.get(task.key, [])
            if before and before[-1].is_live:
                others_at_work = True
            elif self._is_spent(before):
                self._end_spent(task, before)
            elif time.monotonic() < waiting.not_before:
                others_at_work = True  # as good as: it goes on by itself
            elif (lack := self._lack(task, beside)) is not None:
                lacks[task.key] = lack
            else:
                self._begin(task, before)
        if self._running or others_at_work or len(lacks) < len(self._waiting):
            return None
        return Left(lacks)

    def _renew(self) -> None:
        """Renews our claims, if it is time; the work of a claim that is another's by now is given up."""
        now = time.monotonic()
        if now - self._renewed_at < self._settings.lease_s / RENEWALS:
            return
        self._renewed_at = now
        for key, (task, claim) in list(self._running.items()):
            if not self._claims.renew(claim):
                self._engine.cancel(key)
                self._give_back(task)

    def _without_ended(self, attempts: Mapping[str, Sequence[Attempt]]) -> dict[str, Sequence[Attempt]]:
        """The attempts at tasks without a receipt; of the others nothing is left, and nobody waits for them."""
        finished = self._folder.finished()
        for key in finished & attempts.keys() - self._running.keys():
            self._claims.forget(attempts[key])
        for key in finished & self._waiting.keys():
            task = self._waiting.pop(key).task
            receipt = self._folder.receipt(key)
            if self._on_end is not None and receipt is not None:
                self._on_end(task, receipt)
        return {key: tried for key, tried in attempts.items() if key not in finished}

    def _is_spent(self, before: Sequence[Attempt]) -> bool:
        counted = [
            one for one in before if one.ended is None or not one.ended.startswith((STOPPED, NO_SPACE))
        ]
        return len(counted) > self._settings.retries

    def _beside(self, attempts: Mapping[str, Sequence[Attempt]]) -> list[Needs]:
        """What the tasks take that other drivers run on this node."""
        if self._node is None:
            return []
        live = [
            tried[-1] for key, tried in attempts.items() if tried[-1].is_live and key not in self._running
        ]
        return [Needs(**one.about["needs"]) for one in live if one.about.get("node") == self._node.name]

    def _lack(self, task: Task, beside: Sequence[Needs]) -> str | None:
        """What this node lacks for a task beside all that runs on it."""
        if self._node is None:
            return None
        if (elsewhere := self._passes_over(task)) is not None:
            return elsewhere
        if self._full_at is not None and task.needs.disk_bytes >= self._full_at:
            return f"{self._node.name} ran out of disk with a task of {self._full_at:,} bytes"
        own = [running.needs for running, _ in self._running.values()]
        return self._node.lacks(task.needs, [*own, *beside])

    def _begin(self, task: Task, before: Sequence[Attempt]) -> None:
        about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "node": self._node.name if self._node else "",
            "needs": asdict(task.needs),
            "lease_s": self._settings.lease_s,
            "output": task.output,
        }
        claim = self._claims.take(task.key, about, before[-1] if before else None)
        if claim is None:
            return
        if (
            self._folder.receipt(task.key) is not None
        ):  # ended between our looks; the next look forgets the claim
            self._claims.end(claim, STOPPED)
            return
        del self._waiting[task.key]
        self._running[task.key] = (task, claim)
        self._engine.submit(task.key, task.needs, {**self._fields, "task": asdict(task)})

    def _handle(self, finished: TaskResult) -> None:
        """What the engine says of a task that we still hold."""
        if finished.key not in self._running:
            return
        task, claim = self._running[finished.key]
        if not self._claims.renew(claim):
            self._give_back(task)
            return
        outcome = finished.outcome or {
            "status": "failed",
            "reason": "lost",
            "message": finished.lost,
            "again": True,
        }
        if outcome.get("status") == "failed" and outcome.get("again"):
            self._claims.end(claim, f"{outcome['reason']}: {outcome['message']}")
            if outcome["reason"] == NO_SPACE:
                self._full_at = min(self._full_at or task.needs.disk_bytes, task.needs.disk_bytes)
            tries = min(claim.number, len(self._settings.backoff_s)) - 1
            self._give_back(task, self._settings.backoff_s[tries])
            return
        del self._running[finished.key]
        self._waiting[task.key] = _Waiting(task)  # until the next look finds the receipt, ours or another's
        self._end(task, {**outcome, "attempt": claim.number})

    def _give_back(self, task: Task, wait_s: float = 0.0) -> None:
        """A task that we do not hold any more waits again."""
        del self._running[task.key]
        self._waiting[task.key] = _Waiting(task, time.monotonic() + wait_s)

    def _end(self, task: Task, how: Mapping[str, Any]) -> None:
        about = {"key": task.key, "source": task.source, "output": task.output, "identity": task.identity}
        self._folder.put_receipt(task.key, {"schema": "llorch.batch-receipt/v1", **about, **how})

    def _end_spent(self, task: Task, before: Sequence[Attempt]) -> None:
        causes = [one.cause for one in before]
        reason, _, message = causes[-1].partition(": ")
        if not message:
            reason, message = "lost", causes[-1]
        how = {"status": "failed", "reason": reason, "message": message, "attempts": causes}
        self._end(task, how)
