"""The status of a batch, counted from its receipts and claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llorch.fleet.batch_folder import BatchFolder
from llorch.fleet.claims import Attempt
from llorch.fleet.plan import Task

STATES = ("converted", "failed", "refused", "running", "waiting")


@dataclass(frozen=True, slots=True)
class Failures:
    """Tasks that failed for the same reason. output, example: one of them, and its message."""

    reason: str
    count: int
    output: str
    example: str


@dataclass(frozen=True, slots=True)
class HostShare:
    """What ran on one host. seconds: sum over its tasks, which may have run concurrently."""

    host: str
    converted: int
    failed: int
    seconds: float
    source_bytes: int


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt in progress, or one whose driver died and that no other has taken over yet."""

    output: str
    host: str
    pid: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a batch. states: state (of `STATES`) → number of tasks.

    done_bytes, all_bytes: of sources. bytes_per_second: of source, per running task. eta_s: estimated time until all is
    done with as many tasks running as now; None if none has ended or none runs. outcomes: outcome of verification →
    number. slower: time that tasks took, divided by the plan's estimate.
    """

    states: Mapping[str, int]
    done_bytes: int
    all_bytes: int
    written_bytes: int
    bytes_per_second: float | None
    slower: float | None
    eta_s: float | None
    outcomes: Mapping[str, int]
    failures: Sequence[Failures]
    hosts: Sequence[HostShare]
    running: Sequence[Running]

    @property
    def is_done(self) -> bool:
        """Whether every task has ended."""
        return not self.states["running"] and not self.states["waiting"]

    def to_json(self) -> dict[str, Any]:
        """Return the document for --json."""
        return {"schema": "llorch.batch-status/v1", **asdict(self), "done": self.is_done}


def status_of(tasks: Sequence[Task], folder: BatchFolder) -> Status:
    """Compute the status. Rates come from the times that tasks recorded, so no clocks are compared."""
    receipts = {task.key: folder.receipt(task.key) for task in tasks}
    ended = {key: receipt for key, receipt in receipts.items() if receipt is not None}
    attempts = {key: tried[-1] for key, tried in folder.claims().look().items() if tried[-1].is_live}
    running = [task for task in tasks if task.key in attempts and task.key not in ended]
    waiting = [task for task in tasks if task.key not in attempts and task.key not in ended]
    states = Counter(str(receipt["status"]) for receipt in ended.values())
    states.update(running=len(running), waiting=len(waiting))
    done = [task for task in tasks if ended.get(task.key, {}).get("status") == "converted"]
    took = sum(_seconds(ended[task.key]) for task in done)
    planned = sum(task.needs.seconds for task in done)
    slower = took / planned if planned else None
    return Status(
        states={state: states[state] for state in STATES},
        done_bytes=sum(task.source_bytes for task in done),
        all_bytes=sum(task.source_bytes for task in tasks if task.refused is None),
        written_bytes=sum(int(ended[task.key].get("written_bytes", 0)) for task in done),
        bytes_per_second=sum(task.source_bytes for task in done) / took if took else None,
        slower=slower,
        eta_s=_eta(waiting, running, slower),
        outcomes=dict(sorted(Counter(str(ended[task.key].get("verified")) for task in done).items())),
        failures=_failures(ended.values()),
        hosts=_hosts(tasks, ended),
        running=[_running(task, attempts[task.key]) for task in running],
    )


def _seconds(receipt: Mapping[str, Any]) -> float:
    return sum(float(took) for took in dict(receipt.get("seconds", {})).values())


def _eta(waiting: Sequence[Task], running: Sequence[Task], slower: float | None) -> float | None:
    """Estimate the remaining seconds: running tasks are half done on average; the longest waiting one is not split."""
    if not waiting and not running:
        return 0.0
    if slower is None or not running:
        return None
    seconds = sum(task.needs.seconds for task in waiting) + sum(task.needs.seconds for task in running) / 2
    longest = max((task.needs.seconds for task in waiting), default=0.0)
    return slower * max(seconds / len(running), longest)


def _failures(receipts: Iterable[Mapping[str, Any]]) -> list[Failures]:
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for receipt in receipts:
        if receipt["status"] != "converted":
            by_reason.setdefault(str(receipt["reason"]), []).append(receipt)
    found = [
        Failures(reason, len(rows), str(rows[0]["output"]), str(rows[0]["message"]))
        for reason, rows in by_reason.items()
    ]
    return sorted(found, key=lambda one: (-one.count, one.reason))


def _hosts(tasks: Sequence[Task], ended: Mapping[str, Mapping[str, Any]]) -> list[HostShare]:
    shares: dict[str, HostShare] = {}
    for task in tasks:
        receipt = ended.get(task.key, {})
        host = receipt.get("host")
        if not host:
            continue
        share = shares.get(host, HostShare(host, 0, 0, 0.0, 0))
        good = receipt["status"] == "converted"
        shares[host] = HostShare(
            host=host,
            converted=share.converted + good,
            failed=share.failed + (not good),
            seconds=share.seconds + _seconds(receipt),
            source_bytes=share.source_bytes + task.source_bytes * good,
        )
    return [shares[host] for host in sorted(shares)]


def _running(task: Task, attempt: Attempt) -> Running:
    about = attempt.about
    return Running(task.output, str(about.get("host", "")), int(about.get("pid", 0)), attempt.number)
