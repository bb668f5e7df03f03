"""What of a staging is finished for certain: written when the weights it speaks of are on the disk."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field

JOURNAL = "journal.json"
FORMAT = "llorch.staging/v1"
MOST_BYTES = 64 << 20  # far above the row of every tensor that a header may name

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Journal:
    """How far a conversion is.

    key: digest of all that its bytes depend on; another run may continue only with an equal one.
    finished: output tensor → SHA-256 of its bytes, which are on the disk at their final place.
    publishing: the folder is complete and is being given its name, so that nobody may write to it any more.
    """

    key: str
    finished: dict[str, str] = field(default_factory=dict)
    publishing: bool = False

    def write(self, staging_fd: int) -> None:
        """Replaces the journal on the disk in one step, durably."""
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
        """The journal of a staging; None when there is none, or none of ours."""
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
