"""SHA-256 of files in bounded memory, several at a time in threads (hashlib releases the GIL)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

from llorch.base.cores import allowed_cores
from llorch.base.progress import Progress

CHUNK = 1 << 20
THREADS = 8  # more would wait for the disk


class FileDigests:
    """SHA-256 digests of files, computed in background threads and once per file.

    >>> digests = FileDigests()
    >>> digests.begin([Path("model.safetensors")])
    >>> digests.of(Path("model.safetensors"))
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(min(THREADS, allowed_cores()))
        self._stopped = Event()
        self._futures: dict[Path, Future[str]] = {}

    def begin(self, paths: Iterable[Path], progress: Progress | None = None) -> None:
        """Start hashing the files that are new. progress: called in a worker thread with (bytes done, file size)."""
        for path in paths:
            if path not in self._futures:
                self._futures[path] = self._pool.submit(sha256, path, self._stopped, progress)

    def of(self, path: Path, progress: Progress | None = None) -> str:
        """Return a file's digest in hex, waiting for it. OSError if it cannot be read. progress: as in `begin`."""
        self.begin([path], progress)
        return self._futures[path].result()

    def close(self) -> None:
        """Cancel all digests that are still running or queued."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)


def sha256(path: Path, stopped: Event | None = None, progress: Progress | None = None) -> str:
    """Return a file's SHA-256 in hex. CancelledError once `stopped` is set. progress: gets (bytes done, file size)."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if stopped is not None and stopped.is_set():
                raise CancelledError
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    return digest.hexdigest()
