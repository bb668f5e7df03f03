"""The journal of a staging: which outputs are finished and on disk."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field

JOURNAL = "journal.json"
FORMAT = "llorch.staging/v1"
MOST_BYTES = 64 << 20  # far more than the rows of all tensors that a header may have

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Journal:
    """The progress of a conversion.

    key: digest of everything that its bytes depend on; only a run with the same key may continue it.
    finished: output tensor → SHA-256 of its bytes, which are on disk at their final place.
    publishing: the folder is complete and is being renamed, so it must not be written to any more.
    """

    key: str
    finished: dict[str, str] = field(default_factory=dict)
    publishing: bool = False

    def write(self, staging_fd: int) -> None:
        """Replace the journal on disk, atomically and durably."""
        document = {
            "format": FORMAT,
            "key": self.key,
            "publishing": self.publishing,
            "finished": self.finished,
        }
        name = f"{JOURNAL}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=staging_fd), "wb") as file:
            file.write(json.dumps(document).encode())
            file.flush()
            os.fsync(file.fileno())
        os.rename(name, JOURNAL, src_dir_fd=staging_fd, dst_dir_fd=staging_fd)
        os.fsync(staging_fd)

    @classmethod
    def read(cls, staging_fd: int) -> Journal | None:
        """Read the journal of a staging; None if there is none or it is not ours."""
        try:
            fd = os.open(
                JOURNAL, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=staging_fd
            )
            with os.fdopen(fd, "rb") as file:
                document = json.loads(file.read(MOST_BYTES))
        except (OSError, ValueError):
            return None
        match document:
            case {
                "format": str(name),
                "key": str(key),
                "publishing": bool(publishing),
                "finished": dict(rows),
            }:
                if name == FORMAT and all(isinstance(d, str) and _DIGEST.fullmatch(d) for d in rows.values()):
                    return cls(key, rows, publishing)
        return None
