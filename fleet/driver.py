"""The driver of a batch: it claims tasks, has an engine run them, and writes one receipt per task.

Any number of drivers may work on one plan and one folder. A task claimed by one is left alone by the others, and taken
over if that driver falls silent. A driver ends when all its tasks have ended, whichever driver ended them.
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

RENEWALS = 6  # of a claim within one lease, since the network may lose some
BACKOFF_S = (1.0, 5.0, 30.0)  # before this driver retries a failed task; another driver may retry at once
NO_SPACE = "space"  # the reason of a failure that is due to the node, not to the task


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a driver. retries: attempts after the first. poll_s: longest wait between two looks at the claims."""

    retries: int = 2
    lease_s: float = LEASE_S
    poll_s: float = 1.0
    backoff_s: Sequence[float] = BACKOFF_S


@dataclass(slots=True)
class _Waiting:
    """A task that has not ended. not_before: time of the next try by this driver, by its monotonic clock."""

    task: Task
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Left:
    """The tasks without a receipt when the driver ended: key → what this node lacks for it."""

    lacks: Mapping[str, str] = field(default_factory=dict)


class Driver:
    """Runs tasks on an engine, sharing a folder with other drivers.

    node: the machine whose memory and disk the tasks share; None if the engine places them on several. task_fields:
    payload of the engine's function besides the task. passes_over: returns why this node leaves a task to others, or
    None. on_end: called with each task's receipt, including those of other drivers.
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
        # the smallest need of disk, in bytes, that this node had no room for
        self._full_at: int | None = None

    def run(self) -> Left:
        """Run until every task has a receipt, or none of the rest fits this node and no other driver works on them.

        Raises OSError if the folder cannot be read or written. Its claims are released however it ends.
        """
        try:
            while True:
                left = self._poll()
                if left is not None:
                    return left
                for finished in self._engine.results(self._settings.poll_s):
                    self._handle(finished)
        finally:
            self._engine.close()
            for _, claim in self._running.values():
                self._claims.end(claim, STOPPED)

    def _poll(self) -> Left | None:
        """Look at the shared folder once: renew claims, drop ended tasks, start tasks. Returns Left when done."""
        self._renew()
        attempts = self._without_ended(self._claims.look())
        if not self._waiting and not self._running:
            return Left()
        lacks: dict[str, str] = {}
        beside = self._beside(attempts)
        others_at_work = bool(beside)  # they hold resources that a task of ours may need
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
                self._end_without_attempts(task, before)
            elif time.monotonic() < waiting.not_before:
                others_at_work = True  # treated alike: the task will be retried after its pause
            elif (lack := self._lack(task, beside)) is not None:
                lacks[task.key] = lack
            else:
                self._begin(task, before)
        if self._running or others_at_work or len(lacks) < len(self._waiting):
            return None
        return Left(lacks)

    def _renew(self) -> None:
        """Renew our claims, if it is time; cancel the tasks of claims that another driver has taken over."""
        now = time.monotonic()
        if now - self._renewed_at < self._settings.lease_s / RENEWALS:
            return
        self._renewed_at = now
        for key, (task, claim) in list(self._running.items()):
            if not self._claims.renew(claim):
                self._engine.cancel(key)
                self._give_back(task)

    def _without_ended(self, attempts: Mapping[str, Sequence[Attempt]]) -> dict[str, Sequence[Attempt]]:
        """Return the attempts at tasks without a receipt; remove the claims and waiting entries of the others."""
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
        """Return the needs of the tasks that other drivers run on this node."""
        if self._node is None:
            return []
        live = [
            tried[-1] for key, tried in attempts.items() if tried[-1].is_live and key not in self._running
        ]
        return [Needs(**one.about["needs"]) for one in live if one.about.get("node") == self._node.name]

    def _lack(self, task: Task, beside: Sequence[Needs]) -> str | None:
        """Return what this node lacks for a task, given all that runs on it; None if the task can start."""
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
        # ended between our looks; the next look forgets the claim
        if self._folder.receipt(task.key) is not None:
            self._claims.end(claim, STOPPED)
            return
        del self._waiting[task.key]
        self._running[task.key] = (task, claim)
        self._engine.submit(task.key, task.needs, {**self._fields, "task": asdict(task)})

    def _handle(self, finished: TaskResult) -> None:
        """Handle an engine's result: write the receipt, or give the task back for a retry; ignored if not ours."""
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
        self._waiting[task.key] = _Waiting(task)  # until the next look finds its receipt
        self._end(task, {**outcome, "attempt": claim.number})

    def _give_back(self, task: Task, wait_s: float = 0.0) -> None:
        """Return a task that we no longer hold to the waiting ones."""
        del self._running[task.key]
        self._waiting[task.key] = _Waiting(task, time.monotonic() + wait_s)

    def _end(self, task: Task, how: Mapping[str, Any]) -> None:
        about = {"key": task.key, "source": task.source, "output": task.output, "identity": task.identity}
        self._folder.put_receipt(task.key, {"schema": "llorch.batch-receipt/v1", **about, **how})

    def _end_without_attempts(self, task: Task, before: Sequence[Attempt]) -> None:
        causes = [one.cause for one in before]
        reason, _, message = causes[-1].partition(": ")
        if not message:
            reason, message = "lost", causes[-1]
        how = {"status": "failed", "reason": reason, "message": message, "attempts": causes}
        self._end(task, how)
