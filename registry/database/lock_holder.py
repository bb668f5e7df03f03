"""Finding the process that holds the write lock of an SQLite file, from /proc/locks on Linux.

SQLite locks byte ranges of the file (in WAL mode of its `-shm`) and cannot say who holds them. fcntl(2) is no
alternative: it needs the file opened, and closing it drops every lock that this process has on it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from llorch.base.printable import printable

LOCKS = Path("/proc/locks")
PROCESSES = Path("/proc")


def lock_holder(database: Path) -> str | None:
    """Return `pid 12 (llorch-registry)` of another process that holds the write lock; None if the kernel lists none."""
    files = set()
    for name in (database.name, f"{database.name}-shm"):
        with suppress(OSError):
            there = database.with_name(name).stat()
            files.add(f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}")
    try:
        lines = LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()  # 1: POSIX ADVISORY WRITE 12 fe:00:131 1073741825 1073741825
        if len(words) < 6 or words[3] != "WRITE" or words[5] not in files:
            continue
        if words[4].isdigit() and int(words[4]) not in (0, os.getpid()):  # 0: a process of another container
            return f"pid {words[4]}{_program_of(words[4])}"
    return None


def _program_of(pid: str) -> str:
    """Return ` (program)`, or the script if it is Python; "" for a process that is gone or another user's."""
    try:
        words = (PROCESSES / pid / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    interprets = os.path.basename(words[0]).startswith(b"python")  # noqa: PTH119  # bytes
    script = next((word for word in words[1:] if not word.startswith(b"-")), b"") if interprets else b""
    name = os.path.basename(script or words[0])  # noqa: PTH119  # bytes
    return f" ({printable(name, 40, quoted=False)})" if name else ""
