"""What there is at a source before a byte of it is fetched, and what can be asked of it: one view of hubs and URLs."""

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

    path: `/` between parts, checked by `names`. size: in bytes; None where the server does not say.
    sha256, git_sha1: the digests to expect, in lower-case hex, where the source promises one. etag: of the
    answer, for a source without digests.
    """

    path: str
    size: int | None
    sha256: str | None = None
    git_sha1: str | None = None
    etag: str | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def promised(self) -> str | None:
        """The digest to expect, with its kind; None where there is nothing to compare with."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"git-sha1:{self.git_sha1}" if self.git_sha1 else None

    def __str__(self) -> str:
        return printable(self.path, 200, quoted=False)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source is, once its revision is known.

    kind, repository: as recorded; of a URL the folder that the file is in, without its query.
    endpoint: of the hub, without credentials. requested, revision: as asked, and the commit that it was.
    licence: as the card says. files: those that were asked for. left_out: path → why it was not taken. templates: files
    that were not asked for and hold the repository's own chat template, where all of its files were listed.
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
        """Of all files together, as far as it is known."""
        return sum(file.size or 0 for file in self.files)

    def of(self, ending: str) -> Sequence[RemoteFile]:
        """The files whose names end so."""
        return [file for file in self.files if file.path.lower().endswith(ending)]


class Remote(Protocol):
    """A source that is there to be asked; every method raises SourceError or OSError."""

    @property
    def offer(self) -> Offer:
        """What was found."""

    @property
    def goes_on(self) -> bool:
        """Whether a download goes on with what an earlier run left unfinished in the same folder."""

    def read(self, file: RemoteFile, count: int, at: int) -> bytes:
        """`count` bytes of a file from byte `at` on, fewer at its end."""

    def download(
        self, file: RemoteFile, folder: Path, advance: Callable[[int], None]
    ) -> tuple[Path, str | None]:
        """A file, whole, somewhere under `folder`, and its SHA-256 if its bytes were seen as they came.

        advance: called with how many bytes came, less than zero for bytes that are to come again.
        """
