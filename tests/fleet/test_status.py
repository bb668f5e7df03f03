"""A batch's state is counted from its files, whoever wrote them and when."""

from __future__ import annotations

from pathlib import Path

from llorch.fleet import BatchFolder, status_of
from tests.fleet.tasks import task_named


def ended(status: str, host: str, seconds: float, **more: object) -> dict[str, object]:
    return {"status": status, "host": host, "seconds": {"convert": seconds}, "output": "x", **more}


def test_a_hand_count(tmp_path: Path) -> None:
    """Two took 2 s and 4 s where 1 s each was planned: three times slower; 2 s of plan wait beside one that runs."""
    folder = BatchFolder(tmp_path)
    tasks = [task_named(name) for name in ("a", "b", "c", "d", "e", "f")]
    folder.put_receipt(tasks[0].key, ended("converted", "h1", 2.0, verified="PASSED", written_bytes=7))
    folder.put_receipt(tasks[1].key, ended("converted", "h2", 4.0, verified="PASSED", written_bytes=8))
    folder.put_receipt(tasks[2].key, ended("failed", "h1", 1.0, reason="io", message="an I/O error"))
    running = folder.claims().take(tasks[3].key, {"host": "h2", "pid": 42}, None)
    assert running is not None
    found = status_of(tasks, folder)
    assert found.states == {"converted": 2, "failed": 1, "refused": 0, "running": 1, "waiting": 2}
    assert (found.done_bytes, found.all_bytes, found.written_bytes) == (20, 60, 15)
    assert found.slower == 3.0
    assert found.bytes_per_second == 20 / 6
    assert found.eta_s == 3.0 * (2.0 + 0.5)
    assert found.outcomes == {"PASSED": 2}
    assert [(one.reason, one.count, one.example) for one in found.failures] == [("io", 1, "an I/O error")]
    assert [(one.host, one.converted, one.failed, one.seconds) for one in found.hosts] == [
        ("h1", 1, 1, 3.0),
        ("h2", 1, 0, 4.0),
    ]
    assert [(one.output, one.host, one.pid, one.attempt) for one in found.running] == [("d", "h2", 42, 1)]
    assert not found.is_done


def test_before_anything_has_ended_nobody_knows_when_it_will(tmp_path: Path) -> None:
    found = status_of([task_named("a")], BatchFolder(tmp_path))
    assert (found.eta_s, found.slower, found.bytes_per_second) == (None, None, None)


def test_when_all_has_ended_nothing_is_left(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)
    task = task_named("a", refused="why")
    folder.put_receipt(task.key, {"status": "refused", "reason": "refused", "message": "why", "output": "a"})
    found = status_of([task], folder)
    assert (found.eta_s, found.is_done) == (0.0, True)
    assert found.all_bytes == 0
