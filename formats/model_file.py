"""A model's file on the disk: opened without waiting, read by pread, and told apart from one that replaced it.

Nothing is mapped: a file that shrinks under a map is SIGBUS, which Python cannot catch; under pread it is an
error with a name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llorch.base.errors import MalformedInput

# O_NONBLOCK and O_NOCTTY: a pipe or a terminal under that name must neither make us wait nor become ours.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells that a file is still the one that was opened."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, fd: int) -> Identity:
        """The identity of an open file."""
        s = os.fstat(fd)
        return cls(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


def open_descriptor(path: str | os.PathLike[str], *, links: bool = True) -> int:
    """A descriptor for reading a regular file; MalformedInput for a folder, a pipe or a device.

    links: whether the name itself may be a symbolic link; without them one is an OSError (ELOOP).
    """
    fd = os.open(path, _FLAGS if links else _FLAGS | os.O_NOFOLLOW)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise MalformedInput("is not a regular file", path=path)


@contextmanager
def open_model_file(path: str | os.PathLike[str], *, links: bool = True) -> Iterator[int]:
    """`open_descriptor` as a context, which closes it."""
    fd = open_descriptor(path, links=links)
    try:
        yield fd
    finally:
        os.close(fd)


def read_exactly(fd: int, view: memoryview, at: int) -> int:
    """Fills `view` with the file's bytes from `at` on; returns how many there were, fewer at the file's end."""
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], at + done)
        if not got:
            break
        done += got
    return done
