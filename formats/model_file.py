"""Model files on disk: opened without blocking, read with pread, and identified so that a replaced file is noticed.

Nothing is memory-mapped: if a mapped file shrinks, the process gets SIGBUS, which Python cannot catch; pread returns
fewer bytes instead, which becomes an error that names the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llorch.base.errors import MalformedInput

# O_NONBLOCK and O_NOCTTY: a pipe must not block the open, nor a terminal become our controlling terminal.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Identity:
    """What identifies an open file, to notice that it was replaced or changed."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, fd: int) -> Identity:
        """Return the identity of an open file."""
        s = os.fstat(fd)
        return cls(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


def open_descriptor(path: str | os.PathLike[str], *, links: bool = True) -> int:
    """Open a regular file for reading; MalformedInput for a folder, a pipe or a device.

    links: whether `path` may be a symbolic link; if not, a link is an OSError (ELOOP).
    """
    fd = os.open(path, _FLAGS if links else _FLAGS | os.O_NOFOLLOW)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise MalformedInput("is not a regular file", path=path)


@contextmanager
def open_model_file(path: str | os.PathLike[str], *, links: bool = True) -> Iterator[int]:
    """Open as `open_descriptor` does, and close at the end of the context."""
    fd = open_descriptor(path, links=links)
    try:
        yield fd
    finally:
        os.close(fd)


def read_exactly(fd: int, view: memoryview, at: int) -> int:
    """Fill `view` with the file's bytes from offset `at`; return how many were read, fewer only at the file's end."""
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], at + done)
        if not got:
            break
        done += got
    return done
