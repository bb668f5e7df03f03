"""Which process a run is, and whether that one still lives: a row that says `running` may outlive it.

A process id alone says nothing, for it is given again. With the boot of the machine and the moment at which the
process started it names one process for good. Only Linux tells both; elsewhere nothing is said to have died.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

PROC = Path("/proc")
BOOT_ID = PROC / "sys" / "kernel" / "random" / "boot_id"

STATE_FIELD, START_FIELD = 3, 22  # of /proc/PID/stat, counted from one (proc(5))
DEAD_STATES = ("Z", "X")  # a zombie has ended, though signals still find it

DOUBTED_AFTER = timedelta(hours=24)  # of a run on another machine, which nobody here can ask


@dataclass(frozen=True, slots=True)
class Process:
    """One process of one boot of a machine. start: ticks after the boot."""

    boot_id: str
    pid: int
    start: int


def this_process() -> Process | None:
    """The process that asks; None where the system does not tell."""
    try:
        boot_id = BOOT_ID.read_text().strip()
    except OSError:
        return None
    found = state_and_start(os.getpid())
    return Process(boot_id, os.getpid(), found[1]) if found else None


def is_alive(process: Process) -> bool | None:
    """Whether a process of this machine still lives; None where the system does not tell."""
    try:
        boot_id = BOOT_ID.read_text().strip()
    except OSError:
        return None
    if boot_id != process.boot_id:
        return False
    found = state_and_start(process.pid)
    return found is not None and found[1] == process.start and found[0] not in DEAD_STATES


def state_and_start(pid: int) -> tuple[str, int] | None:
    """A process's state and when it started; None if there is none of this id.

    The name before these may hold spaces and brackets, so they are counted from the last bracket.
    """
    try:
        line = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    rest = line.rpartition(")")[2].split()
    return rest[STATE_FIELD - 3], int(rest[START_FIELD - 3])


def shown_status(
    status: str,
    host: str | None,
    process: Process | None,
    started_at: datetime,
    now: datetime,
    *,
    this_host: str,
) -> str:
    """A run's status as it is now: `died` for one whose process is gone, `running?` for one nobody can ask."""
    if status != "running":
        return status
    if process is not None and host == this_host:
        return "died" if is_alive(process) is False else "running"
    return "running?" if now - started_at > DOUBTED_AFTER else "running"
