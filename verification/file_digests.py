"""SHA-256 of files in bounded memory, several at a time: the library lets other threads run meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHUNK = 1 << 20
THREADS = 8  # no disk is faster than these


def digests(paths: Collection[Path]) -> dict[Path, str]:
    """Of every one of some files, as many at a time as this process has processors."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(THREADS, allowed)) as pool:
        return dict(zip(paths, pool.map(sha256, paths), strict=True))


def sha256(path: Path) -> str:
    """Of one file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
