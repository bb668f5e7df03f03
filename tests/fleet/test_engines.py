"""Every engine runs every task, returns each result, and survives the death of a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from llorch.base.errors import UnsupportedInput
from llorch.fleet import ENGINES, BatchFolder, Driver, Engine, EngineOptions, open_engine
from tests.fleet.tasks import FUNCTION, settings, task_named

os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # half a minute is too little on a busy machine

NEEDED = {"ray": "ray", "dask": "distributed"}


def engines() -> list[object]:
    """Every engine; those of clusters take seconds to start."""
    return [
        pytest.param(
            name,
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    find_spec(NEEDED[name]) is None,
                    reason=f"{NEEDED[name]} is not installed: pip install 'llorch[{name}]'",
                ),
            ],
        )
        if extra
        else name
        for name, (_, _, extra) in ENGINES.items()
    ]


@pytest.fixture(params=engines())
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with open_engine(request.param, EngineOptions(FUNCTION, 2)) as opened:
        yield opened


def test_an_engine_runs_tasks_and_a_death_costs_one(engine: Engine, tmp_path: Path) -> None:
    tasks = [task_named(name, memory=1 << 20) for name in ("a", "b", "c", "dies", "fails", "flaky", "slow")]
    calls = tmp_path / "calls"
    calls.mkdir()
    assert engine.slots == 2
    Driver(tasks, BatchFolder(tmp_path), engine, None, settings(), task_fields={"calls": str(calls)}).run()
    receipts = {task.output: BatchFolder(tmp_path).receipt(task.key) or {} for task in tasks}
    assert {name: receipt["status"] for name, receipt in receipts.items()} == {
        "a": "converted",
        "b": "converted",
        "c": "converted",
        "dies": "failed",
        "fails": "failed",
        "flaky": "converted",
        "slow": "converted",
    }
    assert receipts["dies"]["reason"] == "lost"
    assert receipts["dies"]["message"]
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_cancelled_task_gives_nothing_and_its_slot_is_free_again(engine: Engine, tmp_path: Path) -> None:
    slow, other = task_named("slow", memory=1 << 20), task_named("a", memory=1 << 20)
    fields = {"calls": str(tmp_path), "sleep_s": 5.0}
    engine.submit(slow.key, slow.needs, {"task": {"output": "slow"}, **fields})
    while not list(tmp_path.glob("slow.*")):
        assert list(engine.results(0.02)) == []
    engine.cancel(slow.key)
    engine.submit(other.key, other.needs, {"task": {"output": "a"}, **fields})
    ended: list[tuple[str, object]] = []
    while not ended:
        ended = [(one.key, (one.outcome or {}).get("status")) for one in engine.results(0.1)]
    assert ended == [(other.key, "converted")]


def test_an_engine_whose_extra_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "absent", ("no_such_library", "Engine", "absent"))
    with pytest.raises(UnsupportedInput, match=r"pip install 'llorch\[absent\]'"):
        open_engine("absent", EngineOptions(FUNCTION, 1))
