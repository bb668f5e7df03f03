"""SHA-256 of a stream whose parts arrive from several threads in any order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


class OrderedDigest:
    """The digest of a stream of `length` bytes, and of ranges of it.

    complete: called with the digest when all bytes are hashed.
    ranges: (start, end), in order and disjoint; `of_ranges` has their digests when the stream is complete.

    No thread waits for another: the thread that brings the next bytes hashes them, and then those that arrived earlier
    and follow them. The lock is not held while bytes are hashed.
    """

    def __init__(
        self,
        length: int,
        complete: Callable[[str], None] | None = None,
        ranges: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._length = length
        self._ranges = ranges
        self._of_ranges = [hashlib.sha256() for _ in ranges]
        self._range = 0
        self._complete = complete
        self._sha256 = hashlib.sha256()
        self._position = 0
        self._waiting: dict[int, tuple[NDArray[np.uint8], Callable[[], None]]] = {}
        self._busy = False
        self._lock = threading.Lock()

    def add(self, start: int, data: NDArray[np.uint8], release: Callable[[], None]) -> None:
        """Add the bytes from `start` on; they must not change until `release` is called."""
        with self._lock:
            self._waiting[start] = data, release
            if self._busy:
                return
            self._busy = True
        while True:
            with self._lock:
                following = self._waiting.pop(self._position, None)
                if following is None:
                    self._busy = False
                    return
            part, release_part = following
            self._sha256.update(part.data)
            self._update_ranges(part)
            release_part()
            self._position += len(part)
            if self._position == self._length and self._complete is not None:
                self._complete(self._sha256.hexdigest())

    def _update_ranges(self, data: NDArray[np.uint8]) -> None:
        """Hash the parts of these bytes that lie in ranges, beginning with the current range."""
        begin, end = self._position, self._position + len(data)
        while self._range < len(self._ranges):
            first, last = self._ranges[self._range]
            if first >= end:
                return
            self._of_ranges[self._range].update(data[max(first - begin, 0) : last - begin].data)
            if last > end:
                return
            self._range += 1

    @property
    def of_ranges(self) -> list[str]:
        """The digest of each range; an AssertionError while bytes are missing."""
        assert self._position == self._length, f"{self._position} of {self._length} bytes were added"
        return [one.hexdigest() for one in self._of_ranges]

    def hexdigest(self) -> str:
        """Return the digest in hex; an AssertionError while bytes are missing."""
        assert self._position == self._length, f"{self._position} of {self._length} bytes were added"
        return self._sha256.hexdigest()
