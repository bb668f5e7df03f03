"""One file of any web server, or all parts of a split set, by httpx2, with range requests and resumed downloads.

A download is resumed only if the file is still the one whose beginning is here (RFC 9110, If-Range); if it is not, or
the server does not support ranges, it starts from the beginning.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import httpx2

from llorch.base.version import __version__
from llorch.sources.errors import ChoiceNeeded, Damaged, NoRanges, Unreachable
from llorch.sources.offer import Offer, RemoteFile
from llorch.sources.remote.http import Listener, Patience
from llorch.sources.remote.hub_errors import of_connection, of_status
from llorch.sources.remote.retry import first_bytes, with_retries
from llorch.sources.select.files import parts_of
from llorch.sources.select.reference import UrlReference

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 60.0
MOST_REDIRECTS = 5
PIECE = 1 << 20  # bytes read at a time of the part that is here already
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
STRONG = re.compile(r'"[^"]*"')  # a strong etag: of the exact bytes; W/"…" is a weak one


@dataclass(frozen=True, slots=True)
class _Head:
    """A file's size and etag, as far as the server says."""

    size: int | None
    etag: str | None


class UrlFile:
    """A file at a URL, or the split set it is part of; a context manager that queries the server on entering.

    sha256: the expected digest, not for a split set; without one there is nothing to compare with. Raises SourceError.
    """

    def __init__(
        self, reference: UrlReference, sha256: str | None = None, *, patience: Patience | None = None
    ) -> None:
        self._reference = reference
        self._sha256 = sha256
        self._source = reference.shown_url
        self._listener = Listener(self._source, reference.url, patience)
        self._offer: Offer | None = None

    def __enter__(self) -> UrlFile:
        self._client = httpx2.Client(
            headers={"Accept-Encoding": "identity", "User-Agent": f"llorch/{__version__}"},
            event_hooks={"request": [self._listener.asked], "response": [self._listener.answered]},
            follow_redirects=True,
            max_redirects=MOST_REDIRECTS,
            timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )
        try:
            self._offer = self._find()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def offer(self) -> Offer:
        """The file, or the files of its split set."""
        assert self._offer is not None, "it was not entered"
        return self._offer

    @property
    def resumes(self) -> bool:
        """True: a download is resumed if the file is unchanged."""
        return True

    def read(self, file: RemoteFile, count: int, at: int) -> bytes:
        """Read a range of a file. Raises NoRanges if the server ignores the range."""

        def ask() -> bytes:
            with self._get(file, {"Range": f"bytes={at}-{at + count - 1}"}) as answer:
                if answer.status_code != 206 and at:
                    raise NoRanges(self._source, f"{file} cannot be read in parts")
                return first_bytes(answer.iter_raw(), count)

        return with_retries(ask)

    def download(
        self, file: RemoteFile, folder: Path, advance: Callable[[int], None]
    ) -> tuple[Path, str | None]:
        """Download the file to `folder`, resuming an interrupted download; return its path and SHA-256."""
        with Part(folder, file, self._source) as part:
            advance(part.done)
            while True:
                before = part.done
                try:
                    with_retries(lambda: self._go_on(file, part, advance))
                    return part.path, part.digest()
                except Unreachable as error:
                    if not error.transient or part.done <= before:  # retry as long as there is progress
                        raise

    def _go_on(self, file: RemoteFile, part: Part, advance: Callable[[int], None]) -> None:
        """Request the rest of the file, once."""
        headers = {}
        if part.done and part.etag and STRONG.fullmatch(part.etag):
            headers = {"Range": f"bytes={part.done}-", "If-Range": part.etag}
        with self._get(file, headers) as answer:
            if answer.status_code != 206:
                advance(-part.done)
                part.begin(answer.headers.get("ETag"))
            elif not _continues(answer, part.done, file.size):
                part.begin(None)
                raise Damaged(self._source, f"{file}: the server sends another range than it was asked for")
            # Without a chunk size: with one, the last chunk before an interruption would be lost.
            for chunk in answer.iter_raw():
                part.write(chunk)
                advance(len(chunk))
                if file.size is not None and part.done > file.size:
                    part.begin(None)
                    raise Damaged(
                        self._source, f"{file} has more bytes than the {file.size:,} that were promised"
                    )

    @contextmanager
    def _get(self, file: RemoteFile, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """Yield a response with status 200 or 206, its body unread. Raises SourceError for anything else."""
        try:
            with self._client.stream("GET", self._url(file), headers=headers) as answer:
                if answer.status_code not in (200, 206):
                    raise of_status(answer.status_code, self._source, file.path, hint="")
                yield answer
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise of_connection(error, self._source) from error

    def _find(self) -> Offer:
        names = parts_of(self._reference.name)
        if len(names) > 1 and self._sha256:
            raise ChoiceNeeded(self._source, f"--sha256 is of one file, and this is a set of {len(names)}")
        files = []
        for name in names:
            head = with_retries(lambda name=name: self._head(name))  # type: ignore[misc]
            files.append(RemoteFile(name, head.size, sha256=self._sha256, etag=head.etag))
        folder = self._source.rpartition("/")[0]
        return Offer("url", folder, None, None, None, None, gated=False, files=tuple(files))

    def _head(self, name: str) -> _Head:
        """Get size and etag by requesting one byte: some servers, and all signed URLs, answer HEAD differently."""
        with self._get(RemoteFile(name, None), {"Range": "bytes=0-0"}) as answer:
            return _Head(_size_of(answer), answer.headers.get("ETag"))

    def _url(self, file: RemoteFile) -> str:
        parts = urlsplit(self._reference.url)
        path = f"{parts.path.rpartition('/')[0]}/{quote(file.path)}"
        return (
            urlunsplit(parts._replace(path=path))
            if file.path != self._reference.name
            else self._reference.url
        )


class Part:
    """The part of a file that has been received, hashed as it arrives; a context manager.

    It is NAME.incomplete in `folder`, with NAME.incomplete.json to say which file it belongs to: the part that an
    earlier run left of the same file is hashed again and resumed. done: number of bytes received.
    """

    def __init__(self, folder: Path, file: RemoteFile, source: str) -> None:
        self.path = folder / f"{file.name}.incomplete"
        self.done = 0
        self.etag: str | None = None
        self._note = folder / f"{file.name}.incomplete.json"
        self._of = {"source": source, "path": file.path, "size": file.size}
        self._hash = hashlib.sha256()

    def __enter__(self) -> Part:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        etag = self._read_note()
        if etag is None:
            self.begin(None)
            return self
        self.etag = etag
        while piece := os.pread(self._fd, PIECE, self.done):
            self._hash.update(piece)
            self.done += len(piece)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def begin(self, etag: str | None) -> None:
        """Start from the first byte, of the file with this etag."""
        os.ftruncate(self._fd, 0)
        self.done, self.etag, self._hash = 0, etag, hashlib.sha256()
        self._note.write_text(json.dumps({**self._of, "etag": etag}))

    def write(self, chunk: bytes) -> None:
        """Append a chunk."""
        view = memoryview(chunk)
        while view:
            count = os.pwrite(self._fd, view, self.done)
            self._hash.update(view[:count])
            self.done += count
            view = view[count:]

    def digest(self) -> str:
        """Return the SHA-256 of the bytes received."""
        return self._hash.hexdigest()

    def _read_note(self) -> str | None:
        """Return the etag noted by an earlier run, if that was downloading the same file."""
        try:
            note = json.loads(self._note.read_bytes())
            etag = note.pop("etag")
        except (OSError, ValueError, KeyError, AttributeError):
            return None
        return etag if note == self._of and isinstance(etag, str) else None


def _size_of(answer: httpx2.Response) -> int | None:
    """Return the size of the whole file from a response's headers; None if they don't say."""
    if answer.status_code == 206:
        found = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        return int(found[3]) if found and found[3] != "*" else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _continues(answer: httpx2.Response, done: int, size: int | None) -> bool:
    """Return whether a 206 response continues the offered file at offset `done`."""
    found = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == done and found[3] in (str(size), "*")
