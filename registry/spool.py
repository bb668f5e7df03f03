"""Runs that are not recorded in the registry yet: a small note file each, recorded when the registry is next opened.

Opening a registry takes half a second, and it may be locked or unreachable: too much for a run that has just started
or failed. A note is one small file. It is never modified: a run that ends gets another one, so that no note is lost
if it is written while others are being recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llorch.registry.errors import RefusedRequest
from llorch.registry.records.answers import as_json
from llorch.registry.records.processes import Process
from llorch.registry.records.records import RunRecord
from llorch.registry.records.run_ids import UID

if TYPE_CHECKING:
    from llorch.registry.store import Registry

NOTE = re.compile(rf"{UID.pattern}\.(running|failed)\.json")
TRIES = 3  # another process may remove the empty folder after we created it and before we write into it


class Spool:
    """The folder of a registry's notes; it exists only while it contains some, accessible to its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_there(self) -> bool:
        """Whether there are notes to record; cheap."""
        return self.folder.is_dir()

    def note(self, run: RunRecord) -> None:
        """Write a note of a running or failed run, without its artifacts. Raises OSError."""
        content = json.dumps(as_json(run), allow_nan=False).encode()
        name = f"{run.uid}.{run.status}.json"
        for tries_left in reversed(range(TRIES)):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                (self.folder / f".{name}").write_bytes(content)
                (self.folder / f".{name}").rename(self.folder / name)  # atomic
            except FileNotFoundError:
                if not tries_left:
                    raise
            else:
                return

    def forget(self, uid: str) -> None:
        """Delete the note that a run is running, if there is one. Raises OSError."""
        self._remove(self.folder / f"{uid}.running.json")

    def take_in(self, registry: Registry) -> None:
        """Record the noted runs, and then delete the notes.

        A note that conflicts with a recorded run is dropped: its process was stopped just after recording the run.
        Raises RegistryError, and then the notes are kept.
        """
        notes = self._notes()
        recorded = [run for run in notes.values() if run is not None]
        if recorded:
            try:
                registry.record(*recorded)
            except RefusedRequest:
                for run in recorded:
                    with contextlib.suppress(RefusedRequest):
                        registry.record(run)
        with contextlib.suppress(OSError):  # on a read-only disk the notes stay, and are recorded again
            for path in notes:
                self._remove(path)

    def _notes(self) -> dict[Path, RunRecord | None]:
        """Read all notes; None for one that cannot be read."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if NOTE.fullmatch(name))  # noqa: PTH208
        except OSError:
            return {}
        return {self.folder / name: read_note(self.folder / name) for name in names}

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder contains other notes
            self.folder.rmdir()


def read_note(path: Path) -> RunRecord | None:
    """Read a note's run; None if the note is invalid or gone."""
    try:
        return run_from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def run_from_json(document: Mapping[str, Any]) -> RunRecord:
    """Return the run of a document made by `as_json`, without its artifacts, checks and sources."""
    finished, process = document["finished_at"], document["process"]
    return RunRecord(
        uid=document["uid"],
        kind=document["kind"],
        status=document["status"],
        started_at=datetime.fromisoformat(document["started_at"]),
        finished_at=None if finished is None else datetime.fromisoformat(finished),
        host=document["host"],
        params=document["params"],
        tools=document["tools"],
        error=document["error"],
        exit_code=document["exit_code"],
        process=None if process is None else Process(process["boot_id"], process["pid"], process["start"]),
    )
