"""Answers as data, range requests for files, and sending an answer while its bytes are counted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.types import Receive, Send

from tests.hub.repository import Bytes, File, InMemory

CHUNK = 1 << 16
ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
NOTHING = InMemory(b"")


@dataclass(frozen=True)
class Asked:
    """The parts of a request that an answer depends on.

    server: "hub", "cdn" or "site". path: decoded. target: path and query as they were sent. headers: names in lower
    case. subject: `owner/name/path` of the file it is about, `owner/name` of a listing, else "".
    """

    server: str
    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    subject: str = ""

    @property
    def names(self) -> tuple[str, str]:
        """The names that a fault's pattern may match."""
        return self.path, self.subject

    @property
    def query(self) -> dict[str, list[str]]:
        """The query parameters: name → values."""
        return parse_qs(self.target.partition("?")[2])


@dataclass(frozen=True)
class Part:
    """A range of other bytes, shortened to where these end."""

    whole: Bytes
    start: int
    stop: int

    @property
    def size(self) -> int:
        return max(0, min(self.stop, self.whole.size) - self.start)

    def read(self, start: int, stop: int) -> bytes:
        return self.whole.read(self.start + start, self.start + min(stop, self.size))


@dataclass(frozen=True)
class Answer:
    """An answer, and how it is sent.

    length: what Content-Length says; None says nothing and sends chunks. cut_after: body bytes after which the
    connection is closed. pace: so many bytes, then so many seconds of rest. endless: zeros follow the body for ever.
    """

    status: int
    body: Bytes = NOTHING
    length: int | None = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    pace: tuple[int, float] | None = None
    endless: bool = False


def whole(status: int, data: bytes, headers: Mapping[str, str]) -> Answer:
    """Return an answer with a body of these bytes."""
    return Answer(status, InMemory(data), len(data), headers)


def part_of(file: File, asked: Asked, headers: Mapping[str, str]) -> Answer:
    """Return a file's bytes, or the requested range of them: 200, 206 or 416.

    Of several ranges in one request none is served, nor one whose If-Range names another entity tag or a weak one:
    then the answer is the whole. Source: RFC 9110, 13.1.5 and 14.2.
    """
    headers = {**headers, "accept-ranges": "bytes"}
    if file.etag is not None:
        headers["etag"] = file.etag
    span = asked_range(asked, file)
    if span is None:
        return Answer(200, Part(file.data, 0, file.size), file.size, headers)
    start, stop = span
    if start >= stop:
        return Answer(416, headers={**headers, "content-range": f"bytes */{file.size}"})
    headers["content-range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return Answer(206, Part(file.data, start, stop), stop - start, headers)


def asked_range(asked: Asked, file: File) -> tuple[int, int] | None:
    """Return the requested range as (start, stop); start ≥ stop if the file has none of its bytes.

    None is the whole.
    """
    match = ONE_RANGE.fullmatch(asked.headers.get("range", ""))
    if match is None or match[0] == "bytes=-" or asked.method != "GET":
        return None
    condition = asked.headers.get("if-range")
    if condition is not None and (condition != file.etag or condition.startswith("W/")):
        return None
    if not match[1]:
        return max(0, file.size - int(match[2])), file.size
    start = int(match[1])
    if not match[2]:
        return start, file.size
    last = int(match[2])
    return (start, min(last + 1, file.size)) if start <= last else None


async def send_answer(
    answer: Answer, method: str, receive: Receive, send: Send, count: Callable[[int], None]
) -> None:
    """Send the answer until it ends, is cut, or the client has disconnected.

    count: called with the number of body bytes before these are given to the socket. A cut returns without the last
    message of the body; uvicorn then closes the connection after what was sent.
    """
    headers = dict(answer.headers)
    if answer.length is not None:
        headers["content-length"] = str(answer.length)
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    gone = asyncio.Event()
    watching = asyncio.create_task(wait_until_gone(receive, gone))
    try:
        is_whole = True
        if method != "HEAD":
            is_whole = await send_body(answer, send, count, gone)
        if is_whole and not gone.is_set():
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        watching.cancel()


async def wait_until_gone(receive: Receive, gone: asyncio.Event) -> None:
    """Set `gone` when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def send_body(answer: Answer, send: Send, count: Callable[[int], None], gone: asyncio.Event) -> bool:
    """Send the body; return whether it has all the bytes that the headers declare."""
    size = answer.body.size if answer.length is None else min(answer.body.size, answer.length)
    stop = size if answer.cut_after is None else min(size, answer.cut_after)
    step, rest_s = answer.pace or (CHUNK, 0.0)
    at = 0
    while (at < stop or answer.endless) and not gone.is_set():
        chunk = answer.body.read(at, min(at + step, stop)) if at < stop else bytes(step)
        count(len(chunk))
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        at += len(chunk)
        await rest(rest_s, gone)
    return stop == (size if answer.length is None else answer.length)


async def rest(seconds: float, gone: asyncio.Event) -> None:
    """Sleep, or until the client has gone; yields to the event loop at least once, so that it can notice that."""
    await asyncio.sleep(0)
    if seconds:
        with suppress(TimeoutError):
            await asyncio.wait_for(gone.wait(), seconds)
