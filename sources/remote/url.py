"""One file of any web server, or all parts of a split set, by httpx2: in ranges, and going on where it was cut.

A range is asked for on the condition that the file is still the one whose beginning is here (RFC 9110, If-Range);
where it is not, or the server knows no ranges, it is fetched from its beginning.
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
PIECE = 1 << 20  # bytes read at a time of what is here already
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
STRONG = re.compile(r'"[^"]*"')  # an etag of the very bytes; W/"…" is of what they mean


@dataclass(frozen=True, slots=True)
class _Head:
    """What a server says of a file: its size and etag, where it does."""

    size: int | None
    etag: str | None


class UrlFile:
    """A file at a URL; a context manager, which asks the server on entering. Raises SourceError.

    sha256: the digest to expect, of a file that is no part of a set; without one there is nothing to compare with.
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
        """What was found."""
        assert self._offer is not None, "it was not entered"
        return self._offer

    @property
    def goes_on(self) -> bool:
        """Yes, if the file is still the same."""
        return True

    def read(self, file: RemoteFile, count: int, at: int) -> bytes:
        """A range of a file; NoRanges where the server sends it from the beginning instead."""

        def ask() -> bytes:
            with self._get(file, {"Range": f"bytes={at}-{at + count - 1}"}) as answer:
                if answer.status_code != 206 and at:
                    raise NoRanges(self._source, f"{file} cannot be read in parts")
                return first_bytes(answer.iter_raw(), count)

        return with_retries(ask)

    def download(
        self, file: RemoteFile, folder: Path, advance: Callable[[int], None]
    ) -> tuple[Path, str | None]:
        """The file in `folder`, on which a cut or killed download goes on; its SHA-256."""
        with Part(folder, file, self._source) as part:
            advance(part.done)
            while True:
                before = part.done
                try:
                    with_retries(lambda: self._go_on(file, part, advance))
                    return part.path, part.digest()
                except Unreachable as error:
                    if not error.transient or part.done <= before:  # while it comes nearer, it is asked again
                        raise

    def _go_on(self, file: RemoteFile, part: Part, advance: Callable[[int], None]) -> None:
        """One request, for what is missing of the file."""
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
            for (
                chunk
            ) in answer.iter_raw():  # in pieces of a size of ours the last one before a cut would be lost
                part.write(chunk)
                advance(len(chunk))
                if file.size is not None and part.done > file.size:
                    part.begin(None)
                    raise Damaged(
                        self._source, f"{file} has more bytes than the {file.size:,} that were promised"
                    )

    @contextmanager
    def _get(self, file: RemoteFile, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """An answer of 200 or 206, whose body is not read yet; anything else is a SourceError."""
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
        """By a request for the first byte: some servers, and all signed URLs, answer HEAD otherwise than GET."""
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
    """What has come of a file, hashed as it came; a context manager.

    It lies in `folder` as NAME.incomplete, with NAME.incomplete.json to say of which file it is the beginning: what
    an earlier run left of the same is hashed again and gone on with. done: how many bytes are here.
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
        """From the first byte again, of the file with this etag."""
        os.ftruncate(self._fd, 0)
        self.done, self.etag, self._hash = 0, etag, hashlib.sha256()
        self._note.write_text(json.dumps({**self._of, "etag": etag}))

    def write(self, chunk: bytes) -> None:
        """The bytes that come next."""
        view = memoryview(chunk)
        while view:
            count = os.pwrite(self._fd, view, self.done)
            self._hash.update(view[:count])
            self.done += count
            view = view[count:]

    def digest(self) -> str:
        """The SHA-256 of what is here."""
        return self._hash.hexdigest()

    def _read_note(self) -> str | None:
        """The etag of what an earlier run has begun, if that is this file."""
        try:
            note = json.loads(self._note.read_bytes())
            etag = note.pop("etag")
        except (OSError, ValueError, KeyError, AttributeError):
            return None
        return etag if note == self._of and isinstance(etag, str) else None


def _size_of(answer: httpx2.Response) -> int | None:
    """Of the whole file, as the answer says."""
    if answer.status_code == 206:
        found = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        return int(found[3]) if found and found[3] != "*" else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _continues(answer: httpx2.Response, done: int, size: int | None) -> bool:
    """Whether a range is the one that begins after `done` bytes, of the file that was offered."""
    found = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == done and found[3] in (str(size), "*")
