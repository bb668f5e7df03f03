"""Responses whose client may disconnect: server-sent events, and single documents that take long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llorch.runtime.serving.transport.protocol import abort

T = TypeVar("T")


class Disconnected(Exception):
    """The client has closed the connection."""


def encode_event(document: object, event: str | None = None) -> bytes:
    """Encode one event, its data as JSON on one line."""
    data = (
        document
        if isinstance(document, str)
        else json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    )
    name = "" if event is None else f"event: {event}\n"
    return f"{name}data: {data}\n\n".encode()


class EventStream(Response):
    """A response of server-sent events.

    closed: called once when they end, or the client disconnects or stops reading.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], write_s: float, closed: Callable[[], None]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self._events = events
        self._write_s = write_s
        self._closed = closed  # not the iterator's own cleanup: that never runs if iteration never began

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the end; drop a client that has read nothing for `write_s` seconds."""
        writing = asyncio.ensure_future(self._write(send))
        leaving = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        except TimeoutError:
            abort(scope)
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
            self._closed()

    async def _write(self, send: Send) -> None:
        await self._send(
            send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        async for event in self._events:
            await self._send(send, body_message(event, more=True))
            await asyncio.sleep(0)  # so that the loop notes a lost connection before more is written to it
        await self._send(send, body_message(b"", more=False))

    async def _send(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._write_s):  # unlike `wait_for`, this creates no task per token
            await send(message)


def body_message(body: bytes, *, more: bool) -> Message:
    """An ASGI message with a piece of the body."""
    return {"type": "http.response.body", "body": body, "more_body": more}


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Return the result of `work`; if the client disconnects first, cancel it and raise Disconnected."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(wait_for_disconnect(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Disconnected
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
