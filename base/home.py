"""`~` in a path, for users without a home folder too: a container may run us as a number without a name."""

from __future__ import annotations

import os
from pathlib import Path


def expand_home(path: str | os.PathLike[str]) -> Path:
    """`~` and `~name` as a shell has them; a path as it is where they lead nowhere, of which Path makes an error."""
    return Path(os.path.expanduser(path))  # noqa: PTH111
