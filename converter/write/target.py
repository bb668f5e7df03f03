"""The target of a conversion: a folder that appears under its name when it is complete, or not at all.

While it is written, `.NAME.lock` and a staging folder (see `staging`) are beside the target `NAME`. A crash leaves
the target as it was, and a staging that the next run for the same target continues or removes. A symbolic link at
any of these names is never followed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType

from llorch.base.file_lock import FileLock, LockHeld
from llorch.base.printable import printable
from llorch.converter.errors import NotEnoughSpace, TargetBusy, TargetExists
from llorch.converter.write.replaceable import foreign_files
from llorch.converter.write.staging import Staging, entries, naming

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2  # linux/fs.h
NO_RENAMEAT2 = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # NFS, some FUSE and overlay file systems

MOST_NAMED = 3  # names in the message about files that are in the way

# Space required beyond the files' bytes, for the file system's own tables and for the records.
SPARE_SHARE, SPARE_BYTES, SPARE_FILES = 100, 16 << 20, 16


class Target:
    """The lock on a target, and its staging; a context manager that leaves nothing behind when it fails.

    An empty folder at the target is used. force: replace a folder that a conversion wrote (see `replaceable`),
    atomically if the file system can, or a symbolic link, which has no content of its own. keep: files that must
    survive the conversion; a target that contains one of them is never replaced.
    Raises TargetBusy, TargetExists, and OSError if the parent folder cannot be written.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, force: bool = False, keep: Sequence[Path] = ()
    ) -> None:
        # Not resolved: if the target is a link, the link itself is in the way, or is replaced.
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100
        self.parent = self.folder.parent
        self._name = self.folder.name
        self._force = force
        self._keep = keep
        self._created_parents: list[Path] = []
        self._parent_fd = -1
        self._lock: FileLock | None = None
        self._staging: Staging | None = None

    def __enter__(self) -> Target:
        if not self._name:
            raise TargetExists(self.folder, "is the root folder")
        try:
            self._make_parents()
            self._parent_fd = os.open(self.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with naming(self.parent / f".{self._name}.lock"):
                self._take_lock()
            self._roll_back()
            self._require_free()
        except BaseException:
            self._close(failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(failed=kind is not None)

    def stage(self, key: str, sizes: Mapping[str, int], other_bytes: int) -> Staging:
        """Return the staging to write to: one that a crash left with the same `key`, else a new one.

        sizes: bytes of each large file; other_bytes: of all other files together. Raises NotEnoughSpace before anything
        is written. Other stagings for this target are removed.
        """
        resumed = None
        for staging in self._left_behind():
            if resumed is None and staging.journal.key == key and not staging.journal.publishing:
                resumed = staging
            else:
                staging.discard()
        self._staging = resumed
        self._require_space(sum(sizes.values()) + other_bytes, len(sizes))
        if self._staging is None:
            self._staging = Staging.create(self.parent, self._parent_fd, self._staging_prefix, key)
        self._staging.keep_only(sizes)
        return self._staging

    def discard(self) -> None:
        """Remove the staging and its content."""
        if self._staging is not None:
            staging, self._staging = self._staging, None
            staging.discard()

    def publish(self) -> None:
        """Rename the staged folder to the target, durably: others see nothing, the old folder, or the new one."""
        staging = self._staging
        assert staging is not None, "there is nothing to publish before stage()"
        staging.seal()
        self._require_free()
        found = self._lstat(self._name)
        fills = found is not None and stat.S_ISDIR(found.st_mode) and not any(self.folder.iterdir())
        replaces = found is not None and not fills
        flags = RENAME_EXCHANGE if replaces else RENAME_NOREPLACE
        with naming(self.folder):
            if fills:  # rename fails, as it should, if the folder is no longer empty
                os.rename("folder", self._name, src_dir_fd=staging.fd, dst_dir_fd=self._parent_fd)
            in_one_step = fills or _rename2(staging.fd, "folder", self._parent_fd, self._name, flags)
            if not in_one_step:
                self._rename_in_steps(staging, replaces)
            try:
                os.fsync(staging.fd)
                os.fsync(self._parent_fd)
            except BaseException:  # not durable: a power failure could undo the rename, so undo it here
                self._undo_rename(staging, replaces and in_one_step)
                raise
        with suppress(OSError):  # published; the next run removes what is left of the old folder
            self.discard()

    def _rename_in_steps(self, staging: Staging, replaces: bool) -> None:
        """Rename without renameat2; a crash between the steps leaves no target, until `_roll_back` restores it."""
        if replaces:
            os.rename(self._name, "old", src_dir_fd=self._parent_fd, dst_dir_fd=staging.fd)
            os.fsync(staging.fd)
        elif self._lstat(self._name) is not None:  # rename would silently replace an empty folder
            raise TargetExists(self.folder)
        try:
            os.rename("folder", self._name, src_dir_fd=staging.fd, dst_dir_fd=self._parent_fd)
        except BaseException:
            if replaces:
                os.rename("old", self._name, src_dir_fd=staging.fd, dst_dir_fd=self._parent_fd)
            raise

    def _undo_rename(self, staging: Staging, exchanged: bool) -> None:
        if exchanged:
            _rename2(staging.fd, "folder", self._parent_fd, self._name, RENAME_EXCHANGE)
            return
        os.rename(self._name, "folder", src_dir_fd=self._parent_fd, dst_dir_fd=staging.fd)
        if "old" in entries(staging.fd):
            os.rename("old", self._name, src_dir_fd=staging.fd, dst_dir_fd=self._parent_fd)

    def _roll_back(self) -> None:
        """Restore the old folder if a crash came between the two steps of replacing it."""
        for staging in self._left_behind():
            if self._lstat(self._name) is None and "old" in entries(staging.fd):
                os.rename("old", self._name, src_dir_fd=staging.fd, dst_dir_fd=self._parent_fd)
                os.fsync(self._parent_fd)
            staging.close()

    def _require_free(self) -> None:
        """Raise TargetExists unless nothing is at the target, or what is there may be replaced."""
        found = self._lstat(self._name)
        if found is None:
            return
        is_folder = stat.S_ISDIR(found.st_mode)
        others = list(islice(foreign_files(self.folder), MOST_NAMED + 1)) if is_folder else []
        empty = is_folder and not others and not any(self.folder.iterdir())
        if others:
            raise TargetExists(self.folder, _foreign_files_message(others))
        if not is_folder and not stat.S_ISLNK(found.st_mode):
            raise TargetExists(self.folder, "the target exists already and is no folder: choose another")
        if not self._force and not empty:
            raise TargetExists(self.folder)
        held = [path for path in (*self._keep, Path.cwd()) if self._holds(found, path)]
        if held:
            raise TargetExists(self.folder, f"cannot be replaced: {printable(held[0], 200)} is in it")
        if is_folder and os.path.ismount(self.folder):
            raise TargetExists(self.folder, "cannot be replaced: it is a mount point")

    def _holds(self, found: os.stat_result, path: Path) -> bool:
        """Return whether replacing the target would remove `path`."""
        if not stat.S_ISDIR(found.st_mode):
            return os.path.samestat(found, path.lstat())
        real = path.resolve()
        return any(os.path.samestat(found, above.stat()) for above in (real, *real.parents))

    def _require_space(self, needed: int, files: int) -> None:
        needed += needed // SPARE_SHARE + SPARE_BYTES
        needed -= min(needed, self._staging.allocated_bytes() if self._staging is not None else 0)
        disk = os.statvfs(self._parent_fd)
        if disk.f_bavail * disk.f_frsize < needed:
            raise NotEnoughSpace(self.parent, needed, disk.f_bavail * disk.f_frsize)
        if disk.f_files and disk.f_favail < files + SPARE_FILES:
            raise OSError(errno.ENOSPC, "the file system has no room for more files", os.fspath(self.parent))

    def _lstat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _make_parents(self) -> None:
        for parent in reversed(self.folder.parents):
            with suppress(FileExistsError):
                parent.mkdir()
                self._created_parents.append(parent)

    def _take_lock(self) -> None:
        """Take the lock without waiting; raises TargetBusy."""
        lock = FileLock(f".{self._name}.lock", self._parent_fd)
        try:
            lock.acquire()
        except LockHeld as error:
            reason = "; ".join(filter(None, [error.holder, error.hint]))
            raise TargetBusy(self.folder, reason and f" ({reason})") from None
        self._lock = lock

    @property
    def _staging_prefix(self) -> str:
        return f".{self._name}.staging-"

    def _left_behind(self) -> Iterator[Staging]:
        """Yield the stagings of crashed runs for this target; we hold the lock, so no process is using them."""
        for name in entries(self._parent_fd):
            if name.startswith(self._staging_prefix):
                staging = Staging.left_behind(self.parent, self._parent_fd, name)
                if staging is not None:
                    yield staging

    def _close(self, *, failed: bool) -> None:
        try:
            self.discard()
        finally:
            if self._lock is not None:
                self._lock.release()
            if self._parent_fd >= 0:
                os.close(self._parent_fd)
            self._lock, self._parent_fd = None, -1
            for parent in reversed(self._created_parents if failed else []):
                with suppress(OSError):
                    parent.rmdir()


def discard_unfinished(folder: str | os.PathLike[str]) -> None:
    """Remove what killed conversions to `folder` left beside it; the folder itself is not touched.

    Raises TargetBusy while another process writes it, OSError.
    """
    parent = Path(os.path.abspath(folder)).parent  # noqa: PTH100  # as in `Target`
    if parent.is_dir():
        target = Target(folder, force=True)
        with target:
            for staging in target._left_behind():
                staging.discard()


def _foreign_files_message(others: Sequence[str]) -> str:
    """Return the message for a folder that contains files no conversion wrote, which even `force` does not replace."""
    names = ", ".join(printable(name) for name in others[:MOST_NAMED])
    more = " and more" if len(others) > MOST_NAMED else ""
    return (
        f"the target exists already and holds {names}{more}, which no conversion wrote: choose another folder"
    )


def _rename2(from_fd: int, from_name: str, to_fd: int, to_name: str, flags: int) -> bool:
    """Call renameat2(2); return False if the C library or the file system does not support it."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(from_fd, os.fsencode(from_name), to_fd, os.fsencode(to_name), ctypes.c_uint(flags)) == 0:
        return True
    code = ctypes.get_errno()
    if code in NO_RENAMEAT2:
        return False
    if code == errno.EEXIST:
        raise TargetExists(to_name)
    raise OSError(code, os.strerror(code), to_name)
