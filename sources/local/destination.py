"""Destinations of downloads: a folder of the user's, or huggingface_hub's cache, which other programs share.

Only the documented layout of the cache is relied on: `models--OWNER--NAME/blobs/ETAG` holds a file's bytes, and
`snapshots/COMMIT/PATH` links to it. huggingface_hub itself makes the link, once the blob exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import huggingface_hub
from huggingface_hub import constants

from llorch.base.printable import printable
from llorch.sources.errors import DestinationError
from llorch.sources.local.staging import DownloadStaging
from llorch.sources.offer import Offer, RemoteFile
from llorch.sources.remote.hub_errors import translated_errors


class Destination(Protocol):
    """Where downloaded files go."""

    @property
    def folder(self) -> Path:
        """The folder for the `DownloadStaging`: on the same file system as the files."""

    @property
    def files(self) -> Path:
        """The folder that contains the files under their names, after `publish`."""

    def existing(self, file: RemoteFile) -> Path | None:
        """Return the path of an existing file with the name, else None."""

    def make_way(self, landing: DownloadStaging, file: RemoteFile, reason: str, /) -> None:
        """Prepare to replace an existing file that differs; raises DestinationError if it must not be replaced."""

    def publish(self, landing: DownloadStaging, files: Sequence[tuple[RemoteFile, Path]], /) -> None:
        """Move new files to their final names."""


class FolderDestination:
    """A folder of the user's. overwrite: replace files in it that differ."""

    def __init__(self, folder: Path, source: str, *, overwrite: bool = False) -> None:
        self.folder = self.files = folder
        self._source = source
        self._overwrite = overwrite

    def existing(self, file: RemoteFile) -> Path | None:
        """See `Destination.existing`."""
        path = self.folder / file.path
        return path if path.is_file() else None

    def make_way(self, _: DownloadStaging, file: RemoteFile, reason: str) -> None:
        """See `Destination.make_way`; the existing file is replaced once the new one has been checked."""
        if not self._overwrite:
            what = f"{printable(self.folder / file.path, 200, quoted=False)} is there and is another file: {reason}"
            raise DestinationError(self._source, what, reason="exists", hint="--overwrite replaces it")

    def publish(self, landing: DownloadStaging, files: Sequence[tuple[RemoteFile, Path]]) -> None:
        """See `Destination.publish`."""
        landing.publish(files)


class HubCache:
    """One repository at one commit in huggingface_hub's cache."""

    def __init__(self, offer: Offer, source: str) -> None:
        assert offer.revision is not None, "a hub's offer has a commit"
        self._offer = offer
        self._source = source
        self.folder = Path(constants.HF_HUB_CACHE) / f"models--{offer.repository.replace('/', '--')}"
        self.files = self.folder / "snapshots" / offer.revision

    def existing(self, file: RemoteFile) -> Path | None:
        """See `Destination.existing`."""
        path = self.files / file.path
        if path.exists():
            return path
        blob = self._blob(file)  # from another commit, or under another name
        return blob if blob.exists() else None

    def make_way(self, landing: DownloadStaging, file: RemoteFile, reason: str) -> None:
        """See `Destination.make_way`: sets the damaged blob aside, for all names that link to it."""
        blob = self._blob(file)
        if blob.is_symlink():  # into a store shared between caches, whose files must not be moved
            blob.unlink()
        elif blob.exists():
            landing.reject(file, blob, reason)
        (self.files / file.path).unlink(missing_ok=True)

    def publish(self, _: DownloadStaging, files: Sequence[tuple[RemoteFile, Path]]) -> None:
        """See `Destination.publish`."""
        for file, path in files:
            blob = self._blob(file)
            blob.parent.mkdir(parents=True, exist_ok=True)
            path.replace(blob)
        for file in self._offer.files:
            with translated_errors(self._source, file.path):
                huggingface_hub.hf_hub_download(
                    self._offer.repository, file.path, revision=self._offer.revision
                )
        self._note_branch()

    def _note_branch(self) -> None:
        """Point the branch to this commit, as a download by the branch's name would."""
        requested = self._offer.requested
        if requested and requested != self._offer.revision:
            reference = self.folder / "refs" / requested
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(str(self._offer.revision))

    def _blob(self, file: RemoteFile) -> Path:
        etag = file.sha256 or file.git_sha1
        assert etag is not None, "a hub promises a digest of every file"
        return self.folder / "blobs" / etag
