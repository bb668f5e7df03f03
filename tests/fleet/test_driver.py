"""Every task ends once: converted, refused, or failed with its cause; no claims are left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from llorch.fleet import (
    BatchFolder,
    Driver,
    EngineOptions,
    LocalEngine,
    Needs,
    Node,
    Settings,
    Task,
    TaskResult,
)
from tests.conftest import REPOSITORY
from tests.fleet.tasks import FUNCTION, act, node, settings, task_named


class HereEngine:
    """An engine that runs a task in this process when its result is requested, so that a driver's steps are visible."""

    def __init__(self, slots: int = 4) -> None:
        self.slots = slots
        self.submitted: dict[str, Mapping[str, Any]] = {}
        self.most_needs: list[Sequence[Needs]] = []
        self._needs: dict[str, Needs] = {}

    def submit(self, key: str, needs: Needs, payload: Mapping[str, Any]) -> None:
        self.submitted[key] = payload
        self._needs[key] = needs
        self.most_needs.append(list(self._needs.values()))

    def results(self, timeout_s: float) -> Sequence[TaskResult]:
        ended = [TaskResult(key, act(payload)) for key, payload in self.submitted.items()]
        self.submitted.clear()
        self._needs.clear()
        return ended

    def cancel(self, key: str) -> None:
        self.submitted.pop(key, None)

    def close(self) -> None:
        self.submitted.clear()

    def __enter__(self) -> HereEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


def driver(tasks: Sequence[Task], folder: Path, engine: Any, **changed: Any) -> Driver:
    wanted: dict[str, Any] = {"node": node(folder), "settings": settings(), **changed}
    return Driver(tasks, BatchFolder(folder), engine, task_fields={"calls": str(folder / "calls")}, **wanted)


def receipts(folder: Path, tasks: Sequence[Task]) -> dict[str, Mapping[str, Any]]:
    return {task.output: BatchFolder(folder).receipt(task.key) or {} for task in tasks}


def called(calls: Path) -> Counter[str]:
    return Counter(path.name.partition(".")[0] for path in calls.iterdir())


def no_claims(folder: Path) -> bool:
    return not (folder / "claims").exists() or list((folder / "claims").iterdir()) == []


def test_tasks_end_as_what_they_give_and_finished_ones_are_skipped(tmp_path: Path, calls: Path) -> None:
    tasks = [task_named(name) for name in ("a", "b", "fails", "flaky", "never")] + [
        task_named("r", refused="why")
    ]
    ended: list[str] = []
    left = driver(tasks, tmp_path, HereEngine(), on_end=lambda task, _: ended.append(task.output)).run()
    assert left.lacks == {}
    found = receipts(tmp_path, tasks)
    statuses = {name: receipt["status"] for name, receipt in found.items()}
    assert statuses == {
        "a": "converted", "b": "converted", "fails": "failed", "flaky": "converted", "never": "failed", "r": "refused",
    }  # fmt: skip
    assert found["never"]["attempts"] == ["io: an I/O error"] * 3
    assert (found["never"]["reason"], found["never"]["message"]) == ("io", "an I/O error")
    assert found["r"]["message"] == "why"
    assert called(calls) == {"a": 1, "b": 1, "fails": 1, "flaky": 2, "never": 3}
    assert sorted(ended) == sorted(statuses)
    assert no_claims(tmp_path)
    driver(tasks, tmp_path, HereEngine()).run()
    assert called(calls).total() == 8


def test_a_longer_task_goes_first(tmp_path: Path, calls: Path) -> None:
    tasks = [task_named(f"t{n}", seconds=n) for n in (1.0, 3.0, 2.0)]
    engine = HereEngine(slots=1)
    order: list[str] = []
    driver(tasks, tmp_path, engine, on_end=lambda task, _: order.append(task.output)).run()
    assert order == ["t3.0", "t2.0", "t1.0"]


def test_memory_and_disk_are_never_promised_twice(tmp_path: Path, calls: Path) -> None:
    tasks = [task_named(f"t{n}", disk=30 + n, memory=40) for n in range(9)]
    engine = HereEngine(slots=9)
    left = driver(tasks, tmp_path, engine, node=Node("one", 100, 1000)).run()
    assert left.lacks == {}
    assert max(sum(one.memory_bytes for one in needs) for needs in engine.most_needs) == 80
    engine = HereEngine(slots=9)
    others = [task_named(f"u{n}", disk=30 + n, memory=1) for n in range(9)]
    driver(others, tmp_path, engine, node=Node("one", 100, 100)).run()
    assert max(sum(one.disk_bytes for one in needs) for needs in engine.most_needs) <= 100
    assert {receipt["status"] for receipt in receipts(tmp_path, tasks + others).values()} == {"converted"}


def test_what_fits_no_node_is_left_with_what_it_lacks_and_blocks_nobody(tmp_path: Path, calls: Path) -> None:
    tasks = [task_named("large", disk=2000), task_named("small")]
    left = driver(tasks, tmp_path, HereEngine(), node=Node("one", 100, 1000)).run()
    assert left.lacks == {tasks[0].key: "it needs 2,000 bytes of disk, one has 1,000"}
    assert receipts(tmp_path, tasks)["small"]["status"] == "converted"
    assert receipts(tmp_path, tasks)["large"] == {}
    left = driver(tasks, tmp_path, HereEngine(), node=Node("two", 100, 3000)).run()
    assert left.lacks == {}
    assert receipts(tmp_path, tasks)["large"]["status"] == "converted"


def test_a_node_that_ran_full_takes_nothing_as_large_and_another_node_does(
    tmp_path: Path, calls: Path
) -> None:
    tasks = [task_named(f"space{n}", disk=100) for n in range(5)] + [task_named("tiny", disk=1)]
    left = driver(tasks, tmp_path, HereEngine(slots=1)).run()
    assert len(left.lacks) == 5
    assert called(calls) == {"space" + one: 1 for one in {path.name[5] for path in calls.glob("space*")}} | {
        "tiny": 1
    }
    assert called(calls).total() == 2
    assert all("ran out of disk" in lack for lack in left.lacks.values())

    class Roomy(HereEngine):
        def results(self, timeout_s: float) -> Sequence[TaskResult]:
            ended = [TaskResult(key, {"status": "converted"}) for key in self.submitted]
            self.submitted.clear()
            return ended

    assert driver(tasks, tmp_path, Roomy(), node=Node("two", 1000, 1000)).run().lacks == {}
    assert {receipt["status"] for receipt in receipts(tmp_path, tasks).values()} == {"converted"}


def test_a_worker_that_is_killed_costs_its_task_an_attempt_and_is_replaced(
    tmp_path: Path, calls: Path
) -> None:
    tasks = [task_named(name) for name in ("dies", "a", "b", "c")]
    with LocalEngine(EngineOptions(FUNCTION, 1)) as engine:
        driver(tasks, tmp_path, engine).run()
    found = receipts(tmp_path, tasks)
    assert found["dies"]["status"] == "failed"
    assert found["dies"]["reason"] == "lost"
    assert found["dies"]["attempts"] == ["lost: its process was ended by signal 9 (SIGKILL)"] * 3
    assert called(calls) == {"dies": 3, "a": 1, "b": 1, "c": 1}
    assert no_claims(tmp_path)


def test_two_drivers_on_one_plan_do_every_task_once(tmp_path: Path, calls: Path) -> None:
    tasks = [task_named(f"t{n}") for n in range(30)]
    threads = [
        threading.Thread(target=driver(tasks, tmp_path, HereEngine(slots=2), node=Node(name, 10, 10)).run)
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert called(calls) == {task.output: 1 for task in tasks}
    assert {receipt["status"] for receipt in receipts(tmp_path, tasks).values()} == {"converted"}
    assert no_claims(tmp_path)


def test_two_drivers_of_one_node_share_its_memory(tmp_path: Path, calls: Path) -> None:
    """Another driver's claims give the needs of its tasks."""
    task, other = task_named("a", memory=60), task_named("b", memory=60)
    shared = BatchFolder(tmp_path).claims()
    about = {"node": "one", "needs": {"disk_bytes": 1, "memory_bytes": 60, "seconds": 1.0, "gpus": 0}}
    held = shared.take(other.key, about, None)
    assert held is not None
    engine = HereEngine()
    runs = threading.Thread(target=driver([task], tmp_path, engine, node=Node("one", 100, 100)).run)
    runs.start()
    time.sleep(0.2)
    assert called(calls) == {}
    shared.end(held, "stopped")
    runs.join(30)
    assert called(calls) == {"a": 1}


def killed_driver(folder: Path, lease_s: float, *names: str) -> subprocess.Popen[bytes]:
    """Start a driver in a process group of its own, with its workers."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fleet.tasks", str(folder), str(lease_s), *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])},
        cwd=REPOSITORY,
        start_new_session=True,
    )


def wait_for(found: Any) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_a_driver_that_is_killed_is_taken_over_after_its_lease(tmp_path: Path, calls: Path) -> None:
    process = killed_driver(tmp_path, 1.0, "slow1", "slow2", "slow3")
    wait_for(lambda: len(list(calls.iterdir())) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    tasks = [task_named(name) for name in ("slow1", "slow2", "slow3")]
    driver(tasks, tmp_path, HereEngine(), settings=settings(1.0)).run()
    assert {receipt["status"] for receipt in receipts(tmp_path, tasks).values()} == {"converted"}
    assert no_claims(tmp_path)


def test_a_task_that_kills_every_driver_ends_too(tmp_path: Path, calls: Path) -> None:
    """Attempts are counted when they begin, since a driver that dies of one cannot count it."""
    task = task_named("slow")
    for number in range(3):
        process = killed_driver(tmp_path, 1.0, "slow")
        wait_for(lambda number=number: len(list(calls.iterdir())) > number)
        process.kill()
        process.wait()
    driver([task], tmp_path, HereEngine(), settings=settings(1.0)).run()
    found = receipts(tmp_path, [task])["slow"]
    assert found["status"] == "failed"
    assert len(found["attempts"]) == 3
    assert "fell silent" in found["message"]
    assert no_claims(tmp_path)


def test_a_driver_that_is_asked_to_stop_gives_its_claims_back_at_once(tmp_path: Path, calls: Path) -> None:
    class Interrupted(HereEngine):
        def results(self, timeout_s: float) -> Sequence[TaskResult]:
            raise KeyboardInterrupt

    tasks = [task_named("a"), task_named("b")]
    with pytest.raises(KeyboardInterrupt):
        driver(tasks, tmp_path, Interrupted()).run()
    for _ in range(5):  # stops are no attempts
        with pytest.raises(KeyboardInterrupt):
            driver(tasks, tmp_path, Interrupted()).run()
    driver(tasks, tmp_path, HereEngine(), settings=Settings(poll_s=0.01)).run()
    assert {receipt["status"] for receipt in receipts(tmp_path, tasks).values()} == {"converted"}


def test_work_whose_claim_is_anothers_by_now_is_given_up(tmp_path: Path, calls: Path) -> None:
    """A driver that was suspended for longer than its lease: its result is not used."""
    task = task_named("a")
    times = iter([0.0, 60.0])
    shared = BatchFolder(tmp_path).claims(60.0, lambda: next(times))

    class Stalled(HereEngine):
        def results(self, timeout_s: float) -> Sequence[TaskResult]:
            if self.submitted and not (tmp_path / "claims" / f"{task.key}.2").exists():
                shared.look()
                taken = shared.take(task.key, {"host": "another"}, shared.look()[task.key][-1])
                assert taken is not None
                BatchFolder(tmp_path).put_receipt(task.key, {"status": "converted", "by": "another"})
            return super().results(timeout_s)

    driver([task], tmp_path, Stalled()).run()
    assert receipts(tmp_path, [task])["a"]["by"] == "another"
    assert no_claims(tmp_path)
