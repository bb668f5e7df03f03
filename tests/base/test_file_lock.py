"""The lock admits one process at a time, also on file systems without flock."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llorch.base.file_lock import FileLock, LockHeld

NAME = ".out.lock"


@pytest.fixture
def folder_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(
    params=[None, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK],
    ids=["flock", "ENOSYS", "EOPNOTSUPP", "ENOLCK"],
)
def code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """How flock fails, on which file systems it does; None: it does not."""
    if request.param is not None:

        def flock(*_: int) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", flock)
    return request.param  # type: ignore[no-any-return]


def test_a_second_process_learns_the_holder_and_gets_the_lock_afterwards(
    folder_fd: int, code: int | None
) -> None:
    first, second = FileLock(NAME, folder_fd), FileLock(NAME, folder_fd)
    first.acquire()
    with pytest.raises(
        LockHeld, match=rf"pid {os.getpid()} on {socket.gethostname()} since \d{{4}}-"
    ) as held:
        second.acquire()
    assert held.value.hint == ("" if code is None else f"if that process is gone, remove {NAME!r}")
    first.release()
    assert os.listdir(folder_fd) == []
    second.acquire()
    second.release()
    assert os.listdir(folder_fd) == []


def test_a_lock_file_of_a_killed_process_of_this_host_is_ignored(
    tmp_path: Path, folder_fd: int, code: int | None
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / NAME).write_text(f"pid {gone.pid} on {socket.gethostname()} since 2026-01-01T00:00:00Z")
    lock = FileLock(NAME, folder_fd)
    lock.acquire()
    assert f"pid {os.getpid()} " in (tmp_path / NAME).read_text()
    lock.release()


@pytest.mark.parametrize("left", ["pid 1 on moon since 2026-01-01T00:00:00Z", "", "\x1b[2J", "pid 1 on"])
def test_without_flock_a_lock_file_of_another_host_stays_and_is_named(
    tmp_path: Path, folder_fd: int, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / NAME).write_text(left)
    with pytest.raises(LockHeld) as held:
        FileLock(NAME, folder_fd).acquire()
    assert held.value.holder.isprintable()
    assert NAME in held.value.hint
    assert (tmp_path / NAME).read_text() == left


def test_other_errors_of_flock_are_raised(folder_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"):
        FileLock(NAME, folder_fd).acquire()
