"""A folder while it is written: `.NAME.staging-RANDOM/` beside its target, with the files in `folder/`.

All access is relative to descriptors of folders that we created, never by a path that someone else may have changed;
existing files are refused. `journal.json` says what is finished, so that a run after a crash can continue.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from llorch.converter.write.journal import JOURNAL, Journal

NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OLD_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

NO_FALLOCATE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


class Staging:
    """A folder being written, below `parent`, which is open as `parent_fd`.

    path, fd: of the staging itself. folder: where the files are until they are published. journal: the progress.
    """

    def __init__(self, parent: Path, parent_fd: int, name: str, journal: Journal) -> None:
        self.path = parent / name
        self.folder = self.path / "folder"
        self.journal = journal
        self.fd = os.open(name, FOLDER, dir_fd=parent_fd)
        self._parent_fd = parent_fd
        self._name = name
        self._folder_fd = -1

    @classmethod
    def create(cls, parent: Path, parent_fd: int, prefix: str, key: str) -> Staging:
        """Create a staging with an unpredictable name, accessible to our user only."""
        name = prefix + secrets.token_hex(8)
        with naming(parent / name):
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            try:
                staging = cls(parent, parent_fd, name, Journal(key))
            except BaseException:
                os.rmdir(name, dir_fd=parent_fd)
                raise
            try:
                staging.journal.write(staging.fd)
            except BaseException:
                staging.discard()
                raise
        return staging

    @classmethod
    def left_behind(cls, parent: Path, parent_fd: int, name: str) -> Staging | None:
        """Open a crashed run's staging if it is ours: our user's folder with our journal; None for anything else."""
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return None
        staging = cls(parent, parent_fd, name, Journal(""))
        journal = Journal.read(staging.fd)
        if journal is not None:
            staging.journal = journal
            return staging
        # A crash right after its creation leaves it empty, or with a part of the first journal.
        if set(entries(staging.fd)) <= {JOURNAL, f"{JOURNAL}.tmp"}:
            staging.discard()
        else:
            staging.close()
        return None

    @property
    def folder_fd(self) -> int:
        """A descriptor of the folder that will become the target."""
        if self._folder_fd < 0:
            with suppress(FileExistsError):
                os.mkdir("folder", dir_fd=self.fd)
            self._folder_fd = os.open("folder", FOLDER, dir_fd=self.fd)
        return self._folder_fd

    def open_file(self, name: str, size_bytes: int) -> tuple[int, bool]:
        """Open a file with its space allocated; return a descriptor, and whether a crashed run left the file."""
        with naming(self.folder / name):
            if name in entries(self.folder_fd):
                with suppress(OSError):
                    fd = os.open(name, OLD_FILE, dir_fd=self.folder_fd)
                    found = os.fstat(fd)
                    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size == size_bytes:
                        return fd, True
                    os.close(fd)
                _remove(name, self.folder_fd)
            fd = os.open(name, NEW_FILE, 0o666, dir_fd=self.folder_fd)
            try:
                _allocate(fd, size_bytes)
            except BaseException:
                os.close(fd)
                raise
        return fd, False

    def write_file(self, name: str, content: bytes) -> None:
        """Write a whole small file durably; the name may have one `/`, for a subfolder."""
        subfolder, _, base = name.rpartition("/")
        with naming(self.folder / name):
            folder_fd = self._subfolder(subfolder) if subfolder else os.dup(self.folder_fd)
            try:
                fd = os.open(base, NEW_FILE, 0o666, dir_fd=folder_fd)
                with os.fdopen(fd, "wb", buffering=0) as file:
                    write_all(fd, memoryview(content), 0)
                    os.fsync(file)
                os.fsync(folder_fd)
            finally:
                os.close(folder_fd)

    def _subfolder(self, name: str) -> int:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=self.folder_fd)
        return os.open(name, FOLDER, dir_fd=self.folder_fd)

    def keep_only(self, names: Collection[str]) -> None:
        """Remove all files of a crashed run except these."""
        for name in set(entries(self.folder_fd)).difference(names):
            _remove(name, self.folder_fd)

    def checkpoint(self, finished: Mapping[str, str]) -> None:
        """Record in the journal the outputs that are finished and on disk."""
        self.journal.finished.update(finished)
        self.journal.write(self.fd)

    def seal(self) -> None:
        """Mark the staging as complete: from now on it is published or removed, never continued."""
        os.fsync(self.folder_fd)
        self.journal.publishing = True
        self.journal.write(self.fd)

    def allocated_bytes(self) -> int:
        """Return how many bytes its files occupy on disk."""
        names = entries(self.folder_fd)
        found = (os.stat(name, dir_fd=self.folder_fd, follow_symlinks=False) for name in names)
        return sum(512 * file.st_blocks for file in found)

    def discard(self) -> None:
        """Remove the staging; the journal goes last, so that an incomplete removal is still recognized as ours."""
        for name in sorted(entries(self.fd), key=lambda name: name == JOURNAL):
            _remove(name, self.fd)
        self.close()
        os.rmdir(self._name, dir_fd=self._parent_fd)

    def close(self) -> None:
        """Close its descriptors."""
        for fd in (self._folder_fd, self.fd):
            if fd >= 0:
                os.close(fd)
        self._folder_fd = self.fd = -1


def entries(folder_fd: int) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(os.listdir(folder_fd))  # a Path cannot list a descriptor


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Set `path` as the filename of an OSError inside: calls relative to descriptors know a part of it at most."""
    try:
        yield
    except OSError as error:
        if not isinstance(error.filename, str) or not Path(error.filename).is_absolute():
            error.filename = os.fspath(path)
        raise


def write_all(fd: int, data: memoryview, at: int) -> None:
    """Write all of `data` at offset `at`, in as many calls as it takes."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)


def _allocate(fd: int, size_bytes: int) -> None:
    """Reserve the file's space, so that a full disk is noticed before the work."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        os.ftruncate(fd, size_bytes)
        return
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        if error.errno not in NO_FALLOCATE:
            raise
        os.ftruncate(fd, size_bytes)


def _remove(name: str, folder_fd: int) -> None:
    """Remove a file or folder; of a link, the link itself."""
    if stat.S_ISDIR(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=folder_fd)
    else:
        os.unlink(name, dir_fd=folder_fd)
