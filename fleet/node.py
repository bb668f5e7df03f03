"""The memory and disk of a machine, and whether another task fits."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llorch.fleet.plan import Needs


@dataclass(frozen=True, slots=True)
class Node:
    """A machine, with the name that all drivers on it use. folders: where tasks write.

    memory_bytes, disk_bytes: most that tasks may use together; the disk is also limited by what is free.
    """

    name: str
    memory_bytes: int
    disk_bytes: int
    folders: tuple[Path, ...] = ()

    def lacks(self, needs: Needs, running: Iterable[Needs]) -> str | None:
        """Return in words what a task lacks besides the `running` ones; None if it fits.

        Running tasks count as if they had written nothing yet, so free space is never promised twice.
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
    """Return the smallest free space of the folders' file systems, in bytes; 2^62 without folders.

    A folder need not exist yet.
    """
    least = 1 << 62
    for folder in folders:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        least = min(least, shutil.disk_usage(there).free)
    return least
