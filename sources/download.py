"""fetch(): every file of an offer comes, is proven, and gets its name when all of them are sound together."""

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

TRIES = 2  # of a file whose bytes are not what was promised


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A proven file at `path`. how: it was there already, was kept by an earlier run, or came now."""

    path: Path
    proven: Proven
    how: How


@dataclass(frozen=True, slots=True)
class Download:
    """What a fetch gave. folder: where the files lie by their names. checks: check → how many files it was made of."""

    offer: Offer
    folder: Path
    files: tuple[FetchedFile, ...]
    checks: Mapping[str, int]

    @property
    def bytes_fetched(self) -> int:
        """Bytes that were fetched now."""
        return sum(file.proven.size for file in self.files if file.how == "fetched")


@dataclass(frozen=True, slots=True)
class _Here:
    """A proven file, before it has its name."""

    file: RemoteFile
    path: Path
    proven: Proven
    how: How


def fetch(remote: Remote, place: Destination, source: str, progress: Progress | None = None) -> Download:
    """Fetches what is not at `place` already, and proves all of it.

    Whatever this raises, nothing that it fetched is left under a name that a loader takes: SourceError (Damaged for
    bytes that are not those promised), InputError for a file that is not what its name says, OSError.
    """
    with DownloadStaging(place.folder, source, goes_on=remote.goes_on) as landing:
        here = _already_here(remote, place, landing)
        missing = [file for file in remote.offer.files if file.path not in here]
        landing.require_space(sum(file.size or 0 for file in missing if landing.kept(file) is None))
        counter = _Counter(sum(file.size or 0 for file in missing), progress)
        for file in missing:
            here[file.path] = _fetch(remote, landing, file, source, counter.advance)
        ready = [here[file.path] for file in remote.offer.files]
        checks = _sound_together(landing, ready, source)
        place.publish(landing, [(one.file, one.path) for one in ready if one.how != "here"])
    files = [FetchedFile(place.files / one.file.path, one.proven, one.how) for one in ready]
    return Download(remote.offer, place.files, tuple(files), checks)


def _already_here(remote: Remote, place: Destination, landing: DownloadStaging) -> dict[str, _Here]:
    """What is there and is what the source promises; for what is there and is not, way is made."""
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
    """One file, whole, proven and out of sight. Raises Damaged after it was set aside."""
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


def _sound_together(landing: DownloadStaging, ready: list[_Here], source: str) -> Mapping[str, int]:
    """The checks of what the files say of themselves and of one another; what is unsound is set aside."""
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
    """Bytes of all files together, for a progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)
