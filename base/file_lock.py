"""A lock between processes, by a named file in a folder; works on file systems without flock too.

The lock is flock(2), which ends with the process. Where the file system has no flock (Lustre, some CIFS, FUSE and
bucket mounts), the existence of the file is the lock: whoever creates it writes its pid and host into it. The limits
of that: after a crash, the next process on the same host removes the file, unless another process has that pid by
then; after a crash on another host the file stays for ever; two processes that find the same stale file at the same
instant may both take the lock.
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
    """Another process holds the lock.

    holder: `pid 12 on host since …`, empty if the file does not say. hint: what to do if that process is gone.
    """

    def __init__(self, holder: str, hint: str = "") -> None:
        super().__init__(holder)
        self.holder = holder
        self.hint = hint


class FileLock:
    """A lock by the file `name` in the folder open as `folder_fd`; `release` removes the file."""

    def __init__(self, name: str, folder_fd: int, *, mode: int = 0o666) -> None:
        self._name = name
        self._folder_fd = folder_fd
        self._mode = mode
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock without waiting. Raises LockHeld, or OSError if the file cannot be created."""
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
                os.pwrite(fd, _our_holder_text().encode(), 0)
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._fd >= 0:
            # removed before it is unlocked: whoever has it open sees that it has no name
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder_fd)
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> tuple[int, bool]:
        """Return a descriptor of the lock file, and whether this call created it."""
        while True:
            with suppress(FileExistsError):
                flags = OPEN | os.O_CREAT | os.O_EXCL
                return os.open(self._name, flags, self._mode, dir_fd=self._folder_fd), True
            with suppress(FileNotFoundError):
                return os.open(self._name, OPEN, dir_fd=self._folder_fd), False

    def _is_held(self, fd: int, *, is_new: bool) -> bool:
        """Lock the open file. False: it was removed meanwhile, open it again. LockHeld: another process has it."""
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
            if not _is_stale(holder.decode("utf-8", "replace")):
                hint = f"if that process is gone, remove {printable(self._name)}"
                raise LockHeld(printable(holder, 200, quoted=False), hint) from None
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder_fd)
            return False
        # The previous holder may have removed the file between our open and our flock: then ours has no name.
        with suppress(FileNotFoundError):
            there = os.stat(self._name, dir_fd=self._folder_fd, follow_symlinks=False)
            return os.path.samestat(os.fstat(fd), there)
        return False


def _is_stale(holder: str) -> bool:
    """Return whether the lock file's holder is known to be gone: a pid of this host that no longer runs."""
    found = HOLDER.fullmatch(holder)
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or no possible pid
        return False
    return False


def _our_holder_text() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
