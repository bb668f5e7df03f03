"""A file on a server, as a sparse file here: of its size, with just those bytes that somebody asked for.

So whatever reads local files by their headers (planning, describing) can look at a model that was not fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from llorch.base.errors import MalformedInput
from llorch.formats.gguf import Header, read_part
from llorch.sources.offer import RemoteFile

# A header of a 32 thousand token vocabulary ends within the first window, one of 262 thousand after the fourth more.
FIRST_WINDOW, NEXT_WINDOW = 2 << 20, 4 << 20

Fetch = Callable[[int, int], bytes]  # (how many, from which byte on)


class SparseFile:
    """The file at `path`, whose bytes come by `fetch` when they are read for the first time; a context manager.

    size: of the file, as its source says. counted: whether its bytes come from far, so that `fetched` says how many
    came. Raises whatever `fetch` does, and
    MalformedInput where it gives fewer bytes than the size promises.
    """

    def __init__(self, path: Path, file: RemoteFile, fetch: Fetch, *, counted: bool = True) -> None:
        self.path = path
        self._counted = counted
        self.size = file.size or 0
        self.fetched = 0
        self._fetch = fetch
        self._upto = 0  # all bytes before it are here
        self._fd = -1

    def __enter__(self) -> SparseFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, self.size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, count: int, at: int) -> bytes:
        """As pread, of a file that is read from its beginning on: windows of it are fetched in order."""
        while self._upto < min(at + count, self.size):
            window = NEXT_WINDOW if self._upto else FIRST_WINDOW
            self.fill(self._upto, min(window, self.size - self._upto))
        return os.pread(self._fd, count, at)

    def require(self, count: int, most: int) -> None:
        """Fetches the first `count` bytes, where these are no more than `most`."""
        if count > most:
            raise MalformedInput(f"has {count} bytes to look at, more than the limit {most}", path=self.path)
        if count > self._upto:
            self.fill(self._upto, count - self._upto)

    def fill(self, at: int, count: int) -> None:
        """Fetches bytes [at, at + count), unless they are here."""
        if at + count <= self._upto:
            return
        content = self._fetch(count, at)
        self.fetched += len(content) if self._counted else 0
        if len(content) < count:
            what = f"it ends at byte {at + len(content)}, the server says {self.size}"
            raise MalformedInput(what, path=self.path)
        os.pwrite(self._fd, content, at)
        if at <= self._upto:
            self._upto = max(self._upto, at + count)


def read_remote_header(stand_in: SparseFile) -> Header:
    """The header of one GGUF file, fetched as far as it reaches; InputError for what is none."""
    return read_part(stand_in.path, read=stand_in.read)
