"""os.walk that raises on a folder that cannot be read, rather than skipping it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder as os.walk does. Raises OSError, with the path, for a subfolder that cannot be read."""
    return os.walk(folder, onerror=_raise)


def _raise(error: OSError) -> None:
    raise error
