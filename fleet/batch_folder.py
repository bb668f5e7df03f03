"""The folder that the drivers of a batch share: claims and receipts, on any file system that all of them can access."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from llorch.fleet.claims import LEASE_S, Claims, FilesInFolder

STATE = ".batch"  # in the output folder


class BatchFolder:
    """claims/ and receipts/ in a folder; the folders are created by the first write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._receipts = path / "receipts"
        self._read: dict[str, Mapping[str, Any]] = {}

    def claims(self, lease_s: float = LEASE_S, clock: Callable[[], float] | None = None) -> Claims:
        """Return a new observer of the claims."""
        files = FilesInFolder(self.path / "claims")
        return Claims(files, lease_s) if clock is None else Claims(files, lease_s, clock)

    def finished(self) -> set[str]:
        """Return the keys of the tasks that have a receipt."""
        with suppress(FileNotFoundError):
            names = os.listdir(self._receipts)  # noqa: PTH208  # only names, of thousands of files
            return {name.removesuffix(".json") for name in names if name.endswith(".json") and name[0] != "."}
        return set()

    def receipt(self, key: str) -> Mapping[str, Any] | None:
        """Return a task's receipt; None if it has not ended. Receipts never change, so each is read once."""
        if key not in self._read:
            with suppress(FileNotFoundError):
                self._read[key] = json.loads((self._receipts / f"{key}.json").read_bytes())
        return self._read.get(key)

    def put_receipt(self, key: str, document: Mapping[str, Any]) -> bool:
        """Write a task's receipt, atomically; return False, and leave it unchanged, if there is one already.

        Raises OSError.
        """
        self._receipts.mkdir(parents=True, exist_ok=True)
        target = self._receipts / f"{key}.json"
        draft = self._receipts / f".{key}.{secrets.token_hex(8)}"
        try:
            with draft.open("xb") as file:
                file.write(json.dumps(document, indent=1).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            return _link_if_absent(draft, target)
        finally:
            draft.unlink(missing_ok=True)

    def forget_failures(self) -> int:
        """Delete the receipts of failed tasks, so that they are tried again; return their number."""
        failed = [key for key in self.finished() if (self.receipt(key) or {}).get("status") == "failed"]
        for key in failed:
            (self._receipts / f"{key}.json").unlink(missing_ok=True)
            self._read.pop(key, None)
        return len(failed)


def _link_if_absent(draft: Path, target: Path) -> bool:
    """Name a file `target` if that doesn't exist; of several processes that try at once, one succeeds."""
    try:
        os.link(draft, target)
    except FileExistsError:
        return False
    except (
        PermissionError
    ) as error:  # EPERM: a file system without hard links, such as FAT and some FUSE ones
        if target.exists():
            return False
        with suppress(OSError):
            draft.rename(target)
            return True
        raise error from None
    return True
