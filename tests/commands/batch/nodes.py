"""Drivers in processes of their own, as nodes of a fleet: start, kill, wait."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.commands.conftest import ROOT


def node(
    plan: Path, out: Path, name: str, *more: str, most_bytes: int | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start `llorch-batch run` in a process group of its own. most_bytes: the longest file that it may write."""

    def limited() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    words = ["run", plan, "--out", out, "--node", name, "--workers", "1", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "llorch.commands.batch", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **environment},
        start_new_session=True,
        preexec_fn=limited,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the process; return its exit status and its stderr."""
    _, said = process.communicate(timeout=300)
    assert "Traceback" not in said, said
    return process.returncode, said


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the worker processes: the children of the driver's fork server."""
    with suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
        servers = [child for child in children if "forkserver" in " ".join(child.cmdline())]
        return [child for server in servers for child in server.children()]
    return []


def kill_node(process: subprocess.Popen[str]) -> None:
    """Kill the whole group at once, as in a power failure."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
