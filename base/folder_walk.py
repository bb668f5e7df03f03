"""What is in a folder and below it; what cannot be looked at is an error, not left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, which passes over a subfolder that it may not read. Raises OSError, which names it."""
    return os.walk(folder, onerror=_raise)


def _raise(error: OSError) -> None:
    raise error
