"""The staging folder of a download: files are hidden in it until they are checked, and then get their names.

It is `.llorch-fetch-REPOSITORY/` in the destination, and holds a lock, what huggingface_hub is writing, and complete
files named by their digests, so that no loader opens them and the next run doesn't download them again. A file that
fails its check ends as NAME.rejected beside its destination, with the reason.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType

from llorch.base.file_lock import FileLock, LockHeld
from llorch.base.printable import printable
from llorch.sources.errors import DestinationError
from llorch.sources.offer import RemoteFile

PREFIX, INCOMING, LOCK = ".llorch-fetch-", "incoming", "lock"
SPARE_SHARE, SPARE_BYTES = 100, 16 << 20  # extra space for the file system itself: 1 in 100, plus bytes


class DownloadStaging:
    """The staging folder in `folder` for the files of one source; a context manager that holds its lock.

    folder is created if needed, and removed again if it stays empty. resumes: the transport can resume what an earlier
    run left unfinished, so that is kept. Raises DestinationError if another process fetches the same source into the
    same folder, and OSError.
    """

    def __init__(self, folder: Path, source: str, *, resumes: bool = False) -> None:
        self.folder = folder
        self._goes_on = resumes
        self._source = source
        self._own = folder / (PREFIX + re.sub(r"[^A-Za-z0-9._-]+", "--", source)[:120])
        self._made: list[Path] = []
        self._own_fd = -1
        self._lock: FileLock | None = None

    def __enter__(self) -> DownloadStaging:
        self._make_parents()
        self._own.mkdir(mode=0o700, exist_ok=True)
        self._own_fd = os.open(self._own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        lock = FileLock(LOCK, self._own_fd, mode=0o600)
        try:
            lock.acquire()
        except BaseException as error:
            os.close(self._own_fd)
            if isinstance(error, LockHeld):
                reason = "; ".join(
                    filter(None, [error.holder, error.hint and f"{error.hint} in {self._own}"])
                )
                where = printable(self.folder, 200, quoted=False)
                what = f"another process fetches it into {where}" + (reason and f" ({reason})")
                raise DestinationError(self._source, what, reason="busy", hint="wait for it") from None
            raise
        self._lock = lock
        self._clear_unfinished()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._clear_unfinished()
            if kind is None or {path.name for path in self._own.iterdir()} <= {LOCK}:
                shutil.rmtree(self._own)
                for folder in self._made:
                    folder.rmdir()
        if self._lock is not None:
            self._lock.release()
        os.close(self._own_fd)

    @property
    def incoming(self) -> Path:
        """The folder where a transport writes; cleared at the start and the end, unless the transport can resume."""
        folder = self._own / INCOMING
        folder.mkdir(exist_ok=True)
        return folder

    def require_space(self, needed: int) -> None:
        """Raise OSError (ENOSPC), before the download starts, if the file system has less space than needed."""
        needed += needed // SPARE_SHARE + SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            what = f"the files need {needed:,} bytes, the file system has {free:,} left"
            raise OSError(errno.ENOSPC, what, os.fspath(self.folder))

    def kept(self, file: RemoteFile) -> Path | None:
        """Return the complete file kept by an earlier run; None if there is none, or the file has no digest."""
        path = self._find_kept(file)
        return path if path is not None and path.is_file() and not path.is_symlink() else None

    def keep(self, file: RemoteFile, path: Path) -> Path:
        """Move a downloaded file into the staging folder, under its digest, until the others are complete."""
        kept = self._find_kept(file) or self._own / f"{PurePosixPath(file.path).name}.part"
        with path.open("rb+") as stream:
            os.fsync(stream)
        path.replace(kept)
        return kept

    @contextmanager
    def together(self, files: Sequence[tuple[RemoteFile, Path]]) -> Iterator[Path]:
        """Yield a temporary folder of symlinks to the files under their final names, for checking them together."""
        with tempfile.TemporaryDirectory(prefix="together-", dir=self._own) as name:
            for file, path in files:
                placed = Path(name) / file.path
                placed.parent.mkdir(parents=True, exist_ok=True)
                placed.symlink_to(path.absolute())
            yield Path(name)

    def publish(self, files: Sequence[tuple[RemoteFile, Path]]) -> None:
        """Move the files to their final names, atomically and with fsync; JSON last, since an index names weights."""
        ordered = sorted(files, key=lambda pair: pair[0].path.endswith(".json"))
        for file, path in ordered:
            target = self.folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(0o666 & ~_umask())
            path.replace(target)
        for parent in {(self.folder / file.path).parent for file, _ in files}:
            _sync_folder(parent)

    def reject(self, file: RemoteFile, path: Path, reason: str) -> Path:
        """Set a file aside as NAME.rejected, with the reason in NAME.rejected.txt; return its path."""
        target = self.folder / f"{file.path}.rejected"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        target.with_name(f"{target.name}.txt").write_text(f"{self._source}: {reason}\n", encoding="utf-8")
        return target

    def _find_kept(self, file: RemoteFile) -> Path | None:
        digest = file.sha256 or file.git_sha1
        return self._own / f"{digest}.part" if digest else None

    def _make_parents(self) -> None:
        folder = self.folder
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(folder))
        for one in reversed(missing):
            one.mkdir()
        self._made = missing

    def discard(self) -> None:
        """Delete the kept files: the rest will not be downloaded."""
        for path in self._own.glob("*.part"):
            path.unlink()

    def _clear_unfinished(self) -> None:
        """Delete incomplete files that the next run cannot resume."""
        for path in self._own.iterdir():
            if path.is_dir() and not (self._goes_on and path.name == INCOMING and any(path.iterdir())):
                shutil.rmtree(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
