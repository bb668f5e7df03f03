"""The process of a run, and whether it is still alive: a row with status `running` may outlive its process.

Process ids are reused, so a process is identified by its id, the machine's boot id, and its start time. Only Linux has
these; on other systems no run is reported as died.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

PROC = Path("/proc")
BOOT_ID = PROC / "sys" / "kernel" / "random" / "boot_id"

STATE_FIELD, START_FIELD = 3, 22  # of /proc/PID/stat, counted from one (proc(5))
DEAD_STATES = ("Z", "X")  # a zombie has ended, though it can still be signalled

DOUBTED_AFTER = timedelta(hours=24)  # for a run on another machine, whose process can't be checked from here


@dataclass(frozen=True, slots=True)
class Process:
    """A process, identified by the machine's boot id, its pid and its start. start: in clock ticks after boot."""

    boot_id: str
    pid: int
    start: int


def this_process() -> Process | None:
    """Return the current process; None if the system doesn't provide the data."""
    try:
        boot_id = BOOT_ID.read_text().strip()
    except OSError:
        return None
    found = state_and_start(os.getpid())
    return Process(boot_id, os.getpid(), found[1]) if found else None


def is_alive(process: Process) -> bool | None:
    """Return whether a process of this machine is still alive; None if the system doesn't provide the data."""
    try:
        boot_id = BOOT_ID.read_text().strip()
    except OSError:
        return None
    if boot_id != process.boot_id:
        return False
    found = state_and_start(process.pid)
    return found is not None and found[1] == process.start and found[0] not in DEAD_STATES


def state_and_start(pid: int) -> tuple[str, int] | None:
    """Return a process's state and start time in ticks; None if there is no such process.

    The program's name in the line may contain spaces and brackets, so fields are counted from the last bracket.
    """
    try:
        line = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    rest = line.rpartition(")")[2].split()
    return rest[STATE_FIELD - 3], int(rest[START_FIELD - 3])


def current_status(
    status: str,
    host: str | None,
    process: Process | None,
    started_at: datetime,
    now: datetime,
    *,
    this_host: str,
) -> str:
    """Return a run's current status: `died` if its process is gone, `running?` if that has become doubtful."""
    if status != "running":
        return status
    if process is not None and host == this_host:
        return "died" if is_alive(process) is False else "running"
    return "running?" if now - started_at > DOUBTED_AFTER else "running"
