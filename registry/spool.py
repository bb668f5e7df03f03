"""Runs that the registry was not told of yet: a small file each, which its next opening takes in.

To open a registry costs half a second, and it may be locked or out of reach: too much for a run that has only
begun, or that failed. A note costs one small file. It is never changed: a run that ends gets another one, so
whoever takes notes in loses none that is written meanwhile.
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
TRIES = 3  # another process may remove the empty folder between our making it and our writing into it


class Spool:
    """The folder of a registry's notes; it is there only while it holds some, for its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_there(self) -> bool:
        """Whether there is anything to take in; costs next to nothing."""
        return self.folder.is_dir()

    def note(self, run: RunRecord) -> None:
        """Notes a run that is running or failed; nothing that it touched is kept. Raises OSError."""
        content = json.dumps(as_json(run), allow_nan=False).encode()
        name = f"{run.uid}.{run.status}.json"
        for tries_left in reversed(range(TRIES)):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                (self.folder / f".{name}").write_bytes(content)
                (self.folder / f".{name}").rename(self.folder / name)  # whole, or not there
            except FileNotFoundError:
                if not tries_left:
                    raise
            else:
                return

    def forget(self, uid: str) -> None:
        """Takes away the note that a run is running; there need not be one. Raises OSError."""
        self._remove(self.folder / f"{uid}.running.json")

    def take_in(self, registry: Registry) -> None:
        """Records what is noted, and then takes the notes away.

        Of a run that is recorded otherwise the note is wrong: its process was stopped just after it had recorded
        the run. Raises RegistryError, and then the notes stay.
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
        with contextlib.suppress(OSError):  # on a disk that cannot be written they are taken in again
            for path in notes:
                self._remove(path)

    def _notes(self) -> dict[Path, RunRecord | None]:
        """Every note, None for one that cannot be read."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if NOTE.fullmatch(name))  # noqa: PTH208
        except OSError:
            return {}
        return {self.folder / name: read_note(self.folder / name) for name in names}

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others' notes are in it
            self.folder.rmdir()


def read_note(path: Path) -> RunRecord | None:
    """The run that a note tells of; None if it tells of none, or is gone."""
    try:
        return run_from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def run_from_json(document: Mapping[str, Any]) -> RunRecord:
    """The run of which `as_json` made this, without what it touched."""
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
