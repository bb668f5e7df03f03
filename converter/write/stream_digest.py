"""SHA-256 of bytes that threads bring in any order: they wait in line until those before them are in."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class OrderedDigest:
    """The digest of a stream of `length` bytes.

    Nobody waits for anybody: who brings the bytes whose turn it is hashes them, and then those in line behind
    them. The lock is free while bytes are hashed.
    """

    def __init__(self, length: int, complete: Callable[[str], None] | None = None) -> None:
        self._length = length
        self._complete = complete
        self._sha256 = hashlib.sha256()
        self._position = 0
        self._line: dict[int, tuple[NDArray[np.uint8], Callable[[], None]]] = {}
        self._busy = False
        self._lock = threading.Lock()

    def add(self, start: int, data: NDArray[np.uint8], release: Callable[[], None]) -> None:
        """Takes the bytes from `start` on; they must not change until `release` is called."""
        with self._lock:
            self._line[start] = data, release
            if self._busy:
                return
            self._busy = True
        while True:
            with self._lock:
                turn = self._line.pop(self._position, None)
                if turn is None:
                    self._busy = False
                    return
            self._sha256.update(turn[0].data)
            turn[1]()
            self._position += len(turn[0])
            if self._position == self._length and self._complete is not None:
                self._complete(self._sha256.hexdigest())

    def hexdigest(self) -> str:
        """The digest; an AssertionError while bytes are missing."""
        assert self._position == self._length, f"{self._position} of {self._length} bytes came"
        return self._sha256.hexdigest()
