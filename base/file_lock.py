"""One process at a time: a lock on a name in a folder, also where the file system knows none.

flock(2) holds it, which ends with the process. Where the file system has no flock (Lustre, some CIFS, FUSE and bucket
mounts) the file itself is the lock: made by whoever finds none, with his pid and host in it. Its limits: after a crash
it is removed by the next process of the same host, unless another process has that pid by then; a crash on another
host leaves it for ever, and two processes that find the same left one in the same instant may both take it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from contextlib import suppress
from datetime import UTC, datetime

from llorch.base.printable import printable

NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
HELD = {errno.EAGAIN, errno.EACCES}
OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
HOLDER = re.compile(r"pid (\d+) on (\S+) since \S+")


class LockHeld(Exception):
    """Another process has it. holder: `pid 12 on host since …`, empty if it does not say. hint: what else may be."""

    def __init__(self, holder: str, hint: str = "") -> None:
        super().__init__(holder)
        self.holder = holder
        self.hint = hint


class FileLock:
    """The lock by the file `name`, in the folder that `folder_fd` is open on; `release` removes the file."""

    def __init__(self, name: str, folder_fd: int, *, mode: int = 0o666) -> None:
        self._name = name
        self._folder_fd = folder_fd
        self._mode = mode
        self._fd = -1

    def acquire(self) -> None:
        """Takes the lock at once, or raises LockHeld; OSError where the file cannot be made."""
        while self._fd < 0:
            fd, is_new = self._open()
            try:
                held = self._is_held(fd, is_new=is_new)
            except BaseException:
                os.close(fd)
                raise
            if not held:
                os.close(fd)
                continue
            self._fd = fd
            try:
                os.ftruncate(fd, 0)
                os.pwrite(fd, _who_we_are().encode(), 0)
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Lets it go, if we have it."""
        if self._fd >= 0:
            with suppress(OSError):  # while it is locked: who has it open will see that it has no name
                os.unlink(self._name, dir_fd=self._folder_fd)
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> tuple[int, bool]:
        """The file, and whether it was made now."""
        while True:
            with suppress(FileExistsError):
                flags = OPEN | os.O_CREAT | os.O_EXCL
                return os.open(self._name, flags, self._mode, dir_fd=self._folder_fd), True
            with suppress(FileNotFoundError):
                return os.open(self._name, OPEN, dir_fd=self._folder_fd), False

    def _is_held(self, fd: int, *, is_new: bool) -> bool:
        """Whether the open file is the lock and we have it; False where it is to be opened again."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 200, 0)
            if error.errno in HELD:
                raise LockHeld(printable(holder, 200, quoted=False)) from None
            if error.errno not in NO_FLOCK:
                raise
            if is_new:
                return True
            if not _is_left(holder.decode("utf-8", "replace")):
                hint = f"if that process is gone, remove {printable(self._name)}"
                raise LockHeld(printable(holder, 200, quoted=False), hint) from None
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder_fd)
            return False
        with suppress(
            FileNotFoundError
        ):  # whoever held it before us has removed it: what we have has no name
            there = os.stat(self._name, dir_fd=self._folder_fd, follow_symlinks=False)
            return os.path.samestat(os.fstat(fd), there)
        return False


def _is_left(holder: str) -> bool:
    """Whether the process that a lock file names is known to be gone: one of this host that is not there."""
    found = HOLDER.fullmatch(holder)
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's
        return False
    return False


def _who_we_are() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
