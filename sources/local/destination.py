"""Where proven files stay: a folder that the user named, or huggingface_hub's cache, which other programs share.

Of the cache just what its documentation says is relied on: `models--OWNER--NAME/blobs/ETAG` holds a file's bytes,
`snapshots/COMMIT/PATH` leads to it. The link is huggingface_hub's own to make, once the blob is there.
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
    """Where files go."""

    @property
    def folder(self) -> Path:
        """Where a `Landing` stands: on the file system of the files."""

    @property
    def files(self) -> Path:
        """The folder in which the files lie by their names, once they are here."""

    def existing(self, file: RemoteFile) -> Path | None:
        """The file, if something is there under its name."""

    def make_way(self, landing: DownloadStaging, file: RemoteFile, reason: str, /) -> None:
        """For what is there and is not the file; raises DestinationError where it has to stay."""

    def publish(self, landing: DownloadStaging, files: Sequence[tuple[RemoteFile, Path]], /) -> None:
        """Gives new files their names."""


class FolderDestination:
    """A folder of the user's. overwrite: files in it that are others make way."""

    def __init__(self, folder: Path, source: str, *, overwrite: bool = False) -> None:
        self.folder = self.files = folder
        self._source = source
        self._overwrite = overwrite

    def existing(self, file: RemoteFile) -> Path | None:
        """As `Place`."""
        path = self.folder / file.path
        return path if path.is_file() else None

    def make_way(self, _: DownloadStaging, file: RemoteFile, reason: str) -> None:
        """As `Place`; what is there is replaced when the new file is proven."""
        if not self._overwrite:
            what = f"{printable(self.folder / file.path, 200, quoted=False)} is there and is another file: {reason}"
            raise DestinationError(self._source, what, reason="exists", hint="--overwrite replaces it")

    def publish(self, landing: DownloadStaging, files: Sequence[tuple[RemoteFile, Path]]) -> None:
        """As `Place`."""
        landing.publish(files)


class HubCache:
    """huggingface_hub's cache, of one repository at one commit."""

    def __init__(self, offer: Offer, source: str) -> None:
        assert offer.revision is not None, "a hub's offer has a commit"
        self._offer = offer
        self._source = source
        self.folder = Path(constants.HF_HUB_CACHE) / f"models--{offer.repository.replace('/', '--')}"
        self.files = self.folder / "snapshots" / offer.revision

    def existing(self, file: RemoteFile) -> Path | None:
        """As `Place`."""
        path = self.files / file.path
        if path.exists():
            return path
        blob = self._blob(file)  # of another commit, or of another name
        return blob if blob.exists() else None

    def make_way(self, landing: DownloadStaging, file: RemoteFile, reason: str) -> None:
        """As `Place`: a damaged blob is set aside, for every name that leads to it."""
        blob = self._blob(file)
        if blob.is_symlink():  # into a store that caches share, whose files are not this one's to move
            blob.unlink()
        elif blob.exists():
            landing.reject(file, blob, reason)
        (self.files / file.path).unlink(missing_ok=True)

    def publish(self, _: DownloadStaging, files: Sequence[tuple[RemoteFile, Path]]) -> None:
        """As `Place`."""
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
        """Lets the branch mean this commit, as a download by its name would."""
        requested = self._offer.requested
        if requested and requested != self._offer.revision:
            reference = self.folder / "refs" / requested
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(str(self._offer.revision))

    def _blob(self, file: RemoteFile) -> Path:
        etag = file.sha256 or file.git_sha1
        assert etag is not None, "a hub promises a digest of every file"
        return self.folder / "blobs" / etag
