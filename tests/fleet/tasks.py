"""Tasks that convert nothing: a function for engines to run, and drivers in processes of their own."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llorch.fleet import BatchFolder, Driver, EngineOptions, LocalEngine, Needs, Node, Settings, Task

FUNCTION = "tests.fleet.tasks:act"


def task_named(
    name: str, *, seconds: float = 1.0, disk: int = 1, memory: int = 1, refused: str | None = None
) -> Task:
    """Return a task whose output is its name, which tells `act` what to do."""
    key = hashlib.sha256(name.encode()).hexdigest()
    return Task(
        key, f"/models/{name}.gguf", f"sha256:{key}", name, 10, 20, Needs(disk, memory, seconds), refused
    )


def act(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the task's name says; each call leaves a file, so that calls can be counted."""
    name, here = payload["task"]["output"], Path(payload["calls"])
    (here / f"{name}.{os.getpid()}.{time.monotonic_ns()}").touch()
    about = {"host": socket.gethostname(), "pid": os.getpid(), "seconds": {"act": 0.0}}
    if name.startswith("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("fails"):
        return {
            **about,
            "status": "failed",
            "reason": "unsupported",
            "message": "no such thing",
            "again": False,
        }
    if name.startswith("flaky"):
        first = len(list(here.glob(f"{name}.*"))) == 1
        if first:
            return {
                **about,
                "status": "failed",
                "reason": "unreachable",
                "message": "no answer",
                "again": True,
            }
    if name.startswith("never"):
        return {**about, "status": "failed", "reason": "io", "message": "an I/O error", "again": True}
    if name.startswith("space"):
        return {**about, "status": "failed", "reason": "space", "message": "no space left", "again": True}
    if name.startswith("slow"):
        time.sleep(float(payload.get("sleep_s", 0.3)))
    return {**about, "status": "converted", "verified": None, "written_bytes": 20}


def settings(lease_s: float = 60.0, retries: int = 2) -> Settings:
    """Return settings with short waits."""
    return Settings(retries=retries, lease_s=lease_s, poll_s=0.02, backoff_s=(0.0,))


def node(folder: Path, *, disk: int = 10**9, memory: int = 10**9) -> Node:
    """A machine with fixed resources, whatever is free in its folder."""
    return Node("one", memory, disk)


def main(folder: str, lease_s: str, *names: str) -> None:
    """A driver in a process of its own, for tests that kill it."""
    path = Path(folder)
    calls = path / "calls"
    calls.mkdir(parents=True, exist_ok=True)
    tasks = [task_named(name) for name in names]
    with LocalEngine(EngineOptions(FUNCTION, 2)) as engine:
        Driver(
            tasks,
            BatchFolder(path),
            engine,
            node(path),
            settings(float(lease_s)),
            task_fields={"calls": str(calls)},
        ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
