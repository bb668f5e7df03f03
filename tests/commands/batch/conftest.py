"""A folder of small models and the plan of their conversions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from llorch.base.record_files import PROVENANCE, RECORD
from llorch.commands.batch.command import main
from llorch.fleet import STATE, BatchFolder, Plan, read_plan
from tests.commands.conftest import invoke
from tests.models.tiny import random_llama

Planned = Callable[..., Path]


@pytest.fixture
def planned(alone: Path) -> Planned:
    """Make `count` models in models/, and a plan to convert them without verification."""

    def plan(count: int, *more: object, level: str = "none") -> Path:
        folder = alone / "models"
        folder.mkdir(exist_ok=True)
        for number in range(count):
            random_llama(layers=1, width=32, feed_forward=32, seed=number).write(
                folder / f"m{number:03}.gguf"
            )
        done = invoke(main, "plan", folder, *more, "-o", "plan.jsonl", "--verify", level)
        assert done.exit_code == 0, done.output
        return alone / "plan.jsonl"

    return plan


def trees(out: Path) -> dict[str, dict[str, str]]:
    """Return every folder's files by their digests, except the records that hold times and run ids."""
    return {
        folder.name: {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name not in (RECORD, PROVENANCE)
        }
        for folder in sorted(out.iterdir())
        if folder.name != STATE
    }


def require_ended_once(plan: Plan | Path, out: Path) -> dict[str, str]:
    """Assert that every task has its receipt, no claims are left, and there are only complete folders."""
    tasks = (read_plan(plan) if isinstance(plan, Path) else plan).tasks
    folder = BatchFolder(out / STATE)
    states = {task.output: str((folder.receipt(task.key) or {}).get("status")) for task in tasks}
    assert set(states.values()) <= {"converted", "failed", "refused"}, states
    assert list((out / STATE / "claims").iterdir()) == []
    made = {name for name, state in states.items() if state == "converted"}
    kept = {path.name for path in out.iterdir()} - {STATE}
    assert kept == made
    assert all((out / name / RECORD).is_file() for name in made)
    return states
