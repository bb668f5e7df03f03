"""A remote file as a local sparse file of the same size, with only the bytes that were requested.

So code that reads the headers of local files (planning, describing) also works on a model that is not downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from llorch.base.errors import MalformedInput
from llorch.formats.gguf import Header, read_part
from llorch.sources.offer import RemoteFile

# The header of a model with 32 thousand tokens ends within the first window, with 262 thousand after four more.
FIRST_WINDOW, NEXT_WINDOW = 2 << 20, 4 << 20

Fetch = Callable[[int, int], bytes]  # (count, offset) → bytes


class SparseFile:
    """A sparse file at `path` whose bytes are obtained by `fetch` when first read; a context manager.

    size: of the file, from its source. counted: whether to count the bytes in `fetched`, as for a remote file. Raises
    what `fetch` does, and MalformedInput if it returns fewer bytes than the size promises.
    """

    def __init__(self, path: Path, file: RemoteFile, fetch: Fetch, *, counted: bool = True) -> None:
        self.path = path
        self._counted = counted
        self.size = file.size or 0
        self.fetched = 0
        self._fetch = fetch
        self._upto = 0  # all bytes before this offset are present
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
        """Read like pread; everything up to the end of the range is fetched first, in windows from the beginning."""
        while self._upto < min(at + count, self.size):
            window = NEXT_WINDOW if self._upto else FIRST_WINDOW
            self.fill(self._upto, min(window, self.size - self._upto))
        return os.pread(self._fd, count, at)

    def require(self, count: int, most: int) -> None:
        """Fetch the first `count` bytes; MalformedInput if these are more than `most`."""
        if count > most:
            raise MalformedInput(f"has {count} bytes to look at, more than the limit {most}", path=self.path)
        if count > self._upto:
            self.fill(self._upto, count - self._upto)

    def fill(self, at: int, count: int) -> None:
        """Fetch bytes [at, at + count), unless they are present."""
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
    """Read the header of one GGUF file, fetching only as much as needed. Raises InputError."""
    return read_part(stand_in.path, read=stand_in.read)
