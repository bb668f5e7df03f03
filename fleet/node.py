"""What a machine has, and whether a task fits beside those that run on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llorch.fleet.plan import Needs


@dataclass(frozen=True, slots=True)
class Node:
    """A machine, by the name that all its drivers use. folders: in which tasks write.

    memory_bytes, disk_bytes: what tasks may take together. Of the disk what is free now is a limit too.
    """

    name: str
    memory_bytes: int
    disk_bytes: int
    folders: tuple[Path, ...] = ()

    def lacks(self, needs: Needs, running: Iterable[Needs]) -> str | None:
        """What a task lacks beside `running`, in words; None if it fits.

        Of running tasks' disk all counts as not written yet, so what is free is never promised twice.
        """
        others = list(running)
        memory = self.memory_bytes - sum(one.memory_bytes for one in others)
        if needs.memory_bytes > memory:
            return f"it needs {needs.memory_bytes:,} bytes of memory, {self.name} has {max(0, memory):,}"
        disk = min(self.disk_bytes, free_bytes(self.folders)) - sum(one.disk_bytes for one in others)
        if needs.disk_bytes > disk:
            return f"it needs {needs.disk_bytes:,} bytes of disk, {self.name} has {max(0, disk):,}"
        return None


def free_bytes(folders: Iterable[Path]) -> int:
    """The least that is free where any of the folders is, or will be; without a folder there is no limit."""
    least = 1 << 62
    for folder in folders:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        least = min(least, shutil.disk_usage(there).free)
    return least
