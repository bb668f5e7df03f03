"""SHA-256 of files in bounded memory, several at a time, beside whatever else is done: the library lets others run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

from llorch.base.cores import allowed_cores
from llorch.base.progress import Progress

CHUNK = 1 << 20
THREADS = 8  # no disk is faster than these


class FileDigests:
    """Digests that are made in the background, of each file once; what is asked for is waited for.

    >>> digests = FileDigests()
    >>> digests.begin([Path("model.safetensors")])
    >>> digests.of(Path("model.safetensors"))
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(min(THREADS, allowed_cores()))
        self._stopped = Event()
        self._found: dict[Path, Future[str]] = {}

    def begin(self, paths: Iterable[Path], progress: Progress | None = None) -> None:
        """Begins with some files. progress: called in a thread with the bytes of a file that are done, and all."""
        for path in paths:
            if path not in self._found:
                self._found[path] = self._pool.submit(sha256, path, self._stopped, progress)

    def of(self, path: Path, progress: Progress | None = None) -> str:
        """Of one file, in hexadecimal digits; OSError where it cannot be read. progress: if it begins only now."""
        self.begin([path], progress)
        return self._found[path].result()

    def close(self) -> None:
        """Ends what was begun and nobody waits for."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)


def sha256(path: Path, stopped: Event | None = None, progress: Progress | None = None) -> str:
    """Of one file, in hexadecimal digits; CancelledError when told to stop."""
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
