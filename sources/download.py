"""fetch(): download all files of an offer, check them one by one and together, and only then give them their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llorch.base.errors import InputError
from llorch.base.progress import Progress
from llorch.sources.errors import Damaged
from llorch.sources.local.destination import Destination
from llorch.sources.local.proof import NotAsPromised, Proven, prove, require_sound
from llorch.sources.local.staging import DownloadStaging
from llorch.sources.offer import Offer, Remote, RemoteFile

How = Literal["here", "kept", "fetched"]

TRIES = 2  # downloads of a file whose digest is wrong


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A checked file at `path`. how: it was "here" already, "kept" by an earlier run, or "fetched" now."""

    path: Path
    proven: Proven
    how: How


@dataclass(frozen=True, slots=True)
class Download:
    """The result of a fetch. folder: contains the files under their names. checks: check → number of files."""

    offer: Offer
    folder: Path
    files: tuple[FetchedFile, ...]
    checks: Mapping[str, int]

    @property
    def bytes_fetched(self) -> int:
        """The number of bytes downloaded by this fetch."""
        return sum(file.proven.size for file in self.files if file.how == "fetched")


@dataclass(frozen=True, slots=True)
class _Here:
    """A checked file that does not have its final name yet."""

    file: RemoteFile
    path: Path
    proven: Proven
    how: How


def fetch(remote: Remote, place: Destination, source: str, progress: Progress | None = None) -> Download:
    """Download the files that `place` doesn't have, and check all of them.

    Raises SourceError (Damaged for bytes with a wrong digest), InputError for a file that is not what its name says,
    and OSError. After any error no downloaded file is left under a name that a loader would open.
    """
    with DownloadStaging(place.folder, source, resumes=remote.resumes) as landing:
        here = _already_here(remote, place, landing)
        missing = [file for file in remote.offer.files if file.path not in here]
        landing.require_space(sum(file.size or 0 for file in missing if landing.kept(file) is None))
        counter = _Counter(sum(file.size or 0 for file in missing), progress)
        for file in missing:
            here[file.path] = _fetch(remote, landing, file, source, counter.advance)
        ready = [here[file.path] for file in remote.offer.files]
        checks = _require_sound_together(landing, ready, source)
        place.publish(landing, [(one.file, one.path) for one in ready if one.how != "here"])
    files = [FetchedFile(place.files / one.file.path, one.proven, one.how) for one in ready]
    return Download(remote.offer, place.files, tuple(files), checks)


def _already_here(remote: Remote, place: Destination, landing: DownloadStaging) -> dict[str, _Here]:
    """Return the existing files that match their digests; make way for those that differ."""
    here: dict[str, _Here] = {}
    for file in remote.offer.files:
        path = place.existing(file)
        if path is None:
            continue
        if file.promised is None:
            place.make_way(landing, file, "its source promises no digest to compare with")
            continue
        try:
            here[file.path] = _Here(file, path, prove(file, path), "here")
        except NotAsPromised as error:
            place.make_way(landing, file, str(error))
    return here


def _fetch(
    remote: Remote, landing: DownloadStaging, file: RemoteFile, source: str, advance: Callable[[int], None]
) -> _Here:
    """Download and check one file into the staging folder. On a wrong digest, sets it aside and raises Damaged."""
    kept = landing.kept(file)
    if kept is not None:
        try:
            found = _Here(file, kept, prove(file, kept), "kept")
        except NotAsPromised:
            kept.unlink()
        else:
            advance(found.proven.size)
            return found
    reason = ""
    for attempt in range(TRIES):
        path, seen = remote.download(file, landing.incoming, advance)
        try:
            proven = prove(file, path, seen)
        except NotAsPromised as error:
            reason = str(error)
            if attempt == TRIES - 1:
                aside = landing.reject(file, path, reason)
                what = f"{file}: {reason}; set aside as {aside.name}"
                raise Damaged(source, what, hint="fetch it again, or tell who offers it") from None
            advance(-path.stat().st_size)
            path.unlink()
        else:
            return _Here(file, landing.keep(file, path), proven, "fetched")
    raise AssertionError("the last attempt returns or raises")


def _require_sound_together(landing: DownloadStaging, ready: list[_Here], source: str) -> Mapping[str, int]:
    """Check the structure of the files, each and together; returns check → number of files. Sets a bad file aside."""
    with landing.together([(one.file, one.path) for one in ready]) as view:
        try:
            return require_sound(view, [one.file for one in ready])
        except InputError as error:
            at = Path(error.path) if error.path is not None else view
            name = at.relative_to(view).as_posix() if at.is_relative_to(view) else ""
            error.path = f"{source}: {name}" if name else source
            bad = next((one for one in ready if one.file.path == name and one.how != "here"), None)
            if bad is not None:
                aside = landing.reject(bad.file, bad.path, str(error))
                error.hint = "; ".join(filter(None, [error.hint, f"set aside as {aside.name}"]))
            landing.discard()
            raise


class _Counter:
    """Counts the bytes of all files together, for the progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)
