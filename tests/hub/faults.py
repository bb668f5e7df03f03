"""Faults between a hub and its client, as data, and switches for where and how often they fire.

A fault changes what is declared of a file, what was asked, or what is answered; the servers know none of them.
Set on "hub", `WrongDigest` and `LyingSize` show in listings and metadata; set on "cdn" or "site", in the headers of the
bytes. `times` is how often one fires, None for ever.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TypeVar

from tests.hub.answer import Answer, Asked, whole
from tests.hub.repository import Bytes, Content, File, InMemory, lfs_file, plain_file

PAGE = b"<!doctype html>\n<html><head><title>Sign in to the network</title></head><body></body></html>\n"
OF_THE_BODY = frozenset({"content-range", "content-type", "content-disposition", "accept-ranges"})

Changed = TypeVar("Changed")


@dataclass(frozen=True)
class Fault:
    """The base class, which does nothing. A hook returns None if the fault changes nothing; then it does not fire.

    fired: how often it has before.
    """

    _: KW_ONLY
    times: int | None = None

    def declare(self, file: File, fired: int) -> File | None:
        """Return a replacement for a file: other bytes, or other metadata."""
        return None

    def ask(self, asked: Asked, fired: int) -> Asked | None:
        """Return a replacement for a request, for the server to handle."""
        return None

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        """Return a replacement for an answer."""
        return None

    def list_also(self, fired: int) -> tuple[str, ...] | None:
        """Return names of files to add to a listing."""
        return None


@dataclass(frozen=True)
class Cut(Fault):
    """Close the connection after `after` bytes of a longer body."""

    after: int

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        is_longer = asked.method != "HEAD" and answer.body.size > self.after
        return replace(answer, cut_after=self.after) if is_longer else None


@dataclass(frozen=True)
class Status(Fault):
    """Answer with another status, headers and body."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        return whole(self.code, self.body, {name.lower(): value for name, value in self.headers.items()})


@dataclass(frozen=True)
class Html(Fault):
    """Answer with a page and status 200, as a captive portal does."""

    body: bytes = PAGE

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        return whole(200, self.body, {"content-type": "text/html; charset=utf-8"})


@dataclass(frozen=True)
class Flipped:
    """Bytes with the lowest bit of one flipped."""

    true: Bytes
    at: int

    @property
    def size(self) -> int:
        return self.true.size

    def read(self, start: int, stop: int) -> bytes:
        data = bytearray(self.true.read(start, stop))
        if start <= self.at < start + len(data):
            data[self.at - start] ^= 1
        return bytes(data)


@dataclass(frozen=True)
class FlipByte(Fault):
    """Change the byte at this offset of the file in every answer that holds it; the metadata stays."""

    at: int

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        at = self.at - first_byte(answer)
        is_in_it = asked.method != "HEAD" and answer.status < 300 and 0 <= at < answer.body.size
        return replace(answer, body=Flipped(answer.body, at)) if is_in_it else None


@dataclass(frozen=True)
class Replaced(Fault):
    """Change a file between two range requests.

    The first answer that would go past the offset `after` of the file is cut there; from then on `content` is served,
    under its own entity tag, or with `keep_etag` under the old.
    """

    content: Content
    after: int
    keep_etag: bool = False

    def declare(self, file: File, fired: int) -> File | None:
        if not fired:
            return None
        new = (lfs_file if file.sha256 else plain_file)(file.path, self.content)
        return replace(new, etag=file.etag) if self.keep_etag else new

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        start = first_byte(answer)
        is_past = start <= self.after < start + answer.body.size
        if fired or asked.method == "HEAD" or answer.status >= 300 or not is_past:
            return None
        return replace(answer, cut_after=self.after - start)


@dataclass(frozen=True)
class WrongDigest(Fault):
    """Declare a wrong digest in listing and headers: the first hex digit of SHA-256 and of git's id is changed."""

    def declare(self, file: File, fired: int) -> File | None:
        return replace(
            file,
            sha256=another_digest(file.sha256) if file.sha256 else None,
            blob_id=another_digest(file.blob_id),
            etag=f'"{another_digest(file.etag.strip(chr(34)))}"' if file.etag else None,
        )


@dataclass(frozen=True)
class LyingSize(Fault):
    """Declare a wrong size: with a larger one the answer ends early, with a smaller one it is cut to that size."""

    size: int

    def declare(self, file: File, fired: int) -> File | None:
        return replace(file, size=self.size)


@dataclass(frozen=True)
class RedirectTo(Fault):
    """Redirect to another URL; the headers about the file stay."""

    url: str
    code: int = 302

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        kept = {name: value for name, value in answer.headers.items() if name not in OF_THE_BODY}
        return Answer(self.code, headers={**kept, "location": self.url})


@dataclass(frozen=True)
class RedirectLoop(Fault):
    """Redirect to the requested URL itself."""

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        return RedirectTo(asked.target).answer(answer, asked, fired)


@dataclass(frozen=True)
class Drip(Fault):
    """Send `bytes` bytes of the body, then pause for `every_s` seconds, repeatedly."""

    bytes: int
    every_s: float

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        return replace(answer, pace=(self.bytes, self.every_s)) if answer.body.size else None


@dataclass(frozen=True)
class Endless(Fault):
    """Send no Content-Length, and endless zeros after the body."""

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        return replace(answer, length=None, endless=True) if asked.method != "HEAD" else None


@dataclass(frozen=True)
class IgnoreRange(Fault):
    """Answer a range request with the whole file and status 200."""

    def ask(self, asked: Asked, fired: int) -> Asked | None:
        if "range" not in asked.headers:
            return None
        return replace(
            asked, headers={name: asked.headers[name] for name in asked.headers if name != "range"}
        )


@dataclass(frozen=True)
class WrongRange(Fault):
    """Send the requested bytes under a wrong Content-Range: shifted, or with another total."""

    shift: int = 1
    total: int | None = None

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        if answer.status != 206:
            return None
        start, last, total = (int(number) for number in re.findall(r"\d+", answer.headers["content-range"]))
        said = f"bytes {start + self.shift}-{last + self.shift}/{total if self.total is None else self.total}"
        return replace(answer, headers={**answer.headers, "content-range": said})


@dataclass(frozen=True)
class Gzip(Fault):
    """Compress the body, in chunks, without Content-Length and with a weak entity tag, if the client accepts it.

    The real hub does so with small text files.
    """

    def answer(self, answer: Answer, asked: Asked, fired: int) -> Answer | None:
        if "gzip" not in asked.headers.get("accept-encoding", "") or answer.status != 200:
            return None
        packed = InMemory(gzip.compress(answer.body.read(0, answer.body.size)))
        headers = {**answer.headers, "content-encoding": "gzip", "vary": "accept-encoding"}
        if "etag" in headers:
            headers["etag"] = "W/" + headers["etag"].removeprefix("W/")
        return replace(answer, body=packed, length=None, headers=headers)


@dataclass(frozen=True)
class ExtraEntries(Fault):
    """Add files to the end of a listing: hostile names, or one that exists already."""

    paths: tuple[str, ...]

    def list_also(self, fired: int) -> tuple[str, ...] | None:
        return self.paths


def first_byte(answer: Answer) -> int:
    """Return the offset in the file at which an answer's body begins."""
    return int(re.findall(r"\d+", answer.headers.get("content-range", "0"))[0])


def another_digest(digest: str) -> str:
    """Return a digest that differs in its first hex digit."""
    return ("1" if digest.startswith("0") else "0") + digest[1:]


@dataclass
class Switch:
    """A fault, the requests it applies to, and how often it has fired.

    pattern: as in fnmatch, of a request's path, or of `owner/name/path` for a file, `owner/name` for a listing.
    method: of these requests alone. skip: how many times it does not fire first.
    """

    server: str
    pattern: str
    fault: Fault
    method: str | None = None
    skip: int = 0
    fired: int = 0
    skipped: int = 0

    def is_on(self, asked: Asked) -> bool:
        """Return whether the fault may fire for this request."""
        return (
            self.server == asked.server
            and self.method in (None, asked.method)
            and (self.fault.times is None or self.fired < self.fault.times)
            and any(fnmatchcase(name, self.pattern) for name in asked.names)
        )

    def use(self, changed: Changed | None) -> Changed | None:
        """Return a hook's result and count it; None if there is none, or if it is skipped."""
        if changed is None:
            return None
        if self.skipped < self.skip:
            self.skipped += 1
            return None
        self.fired += 1
        return changed


class Faults:
    """The switches, in the order in which they were set; later ones change the results of earlier ones."""

    def __init__(self) -> None:
        self.switches: list[Switch] = []

    def declared(self, file: File, asked: Asked) -> File:
        """Return a file as it is declared and served."""
        return self._changed(file, asked, lambda switch, file: switch.fault.declare(file, switch.fired))

    def understood(self, asked: Asked) -> Asked:
        """Return the request that the server handles."""
        return self._changed(asked, asked, lambda switch, asked: switch.fault.ask(asked, switch.fired))

    def answered(self, answer: Answer, asked: Asked) -> Answer:
        """Return the answer that is sent."""
        return self._changed(answer, asked, lambda switch, now: switch.fault.answer(now, asked, switch.fired))

    def also_listed(self, asked: Asked) -> tuple[str, ...]:
        """Return the files added to this listing."""
        return self._changed((), asked, lambda switch, _: switch.fault.list_also(switch.fired))

    def _changed(
        self, now: Changed, asked: Asked, hook: Callable[[Switch, Changed], Changed | None]
    ) -> Changed:
        for switch in list(self.switches):
            if switch.is_on(asked):
                changed = switch.use(hook(switch, now))
                now = now if changed is None else changed
        return now
