"""`~` in paths, also for users without a home folder (a container may run as a uid without a name)."""

from __future__ import annotations

import os
from pathlib import Path


def expand_home(path: str | os.PathLike[str]) -> Path:
    """Expand `~` and `~name`; a path whose user has no home stays as it is, where Path.expanduser would raise."""
    return Path(os.path.expanduser(path))  # noqa: PTH111
