"""The files that a source offers, and the interface for reading them, common to hubs and URLs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from llorch.base.printable import printable

Kind = Literal["hub", "url", "file"]
EtagKind = Literal["sha256", "git-sha1", "opaque"]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as its source lists it.

    path: with `/`, checked by `names`. size: in bytes; None if the server does not say. sha256, git_sha1: the expected
    digest in lower-case hex, if the source has one. etag: of the answer, for a source without digests.
    """

    path: str
    size: int | None
    sha256: str | None = None
    git_sha1: str | None = None
    etag: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def promised(self) -> str | None:
        """The expected digest, prefixed with its kind; None if the source has none."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"git-sha1:{self.git_sha1}" if self.git_sha1 else None

    def __str__(self) -> str:
        return printable(self.path, 200, quoted=False)


@dataclass(frozen=True, slots=True)
class Offer:
    """The files of a source at a resolved revision.

    kind, repository: as recorded; the repository of a URL is the URL of the file's folder, without its query.
    endpoint: of the hub, without credentials. requested, revision: the requested one, and the commit it resolved to.
    licence: from the model card. files: the selected ones. left_out: (path, why it was not selected). templates: files
    that were not selected but hold the repository's chat template, if all files were listed.
    """

    kind: Kind
    repository: str
    endpoint: str | None
    requested: str | None
    revision: str | None
    licence: str | None
    gated: bool
    files: tuple[RemoteFile, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    templates: tuple[RemoteFile, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of all files together; unknown sizes count as 0."""
        return sum(file.size or 0 for file in self.files)

    def of(self, ending: str) -> Sequence[RemoteFile]:
        """Return the files whose names end with `ending`, in lower case."""
        return [file for file in self.files if file.path.lower().endswith(ending)]


class Remote(Protocol):
    """An open source; every method raises SourceError or OSError."""

    @property
    def offer(self) -> Offer:
        """The selected files."""

    @property
    def resumes(self) -> bool:
        """Whether a download resumes what an earlier run left unfinished in the same folder."""

    def read(self, file: RemoteFile, count: int, at: int) -> bytes:
        """Read `count` bytes of a file from offset `at`, fewer at its end."""

    def download(
        self, file: RemoteFile, folder: Path, advance: Callable[[int], None]
    ) -> tuple[Path, str | None]:
        """Download a file to somewhere under `folder`; return its path, and its SHA-256 if it was hashed on the way.

        advance: called with the number of bytes received, negative for bytes that will be downloaded again.
        """
