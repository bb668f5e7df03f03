"""uvicorn's HTTP/1.1 protocol with what it lacks: a time limit for headers, precise statuses, aborting a connection."""

from __future__ import annotations

import asyncio
import json
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.settings import Limits

LINGER_S = 2.0  # a rejected client may keep sending this long before its connection is cut


def bounded_protocol(limits: Limits) -> type[H11Protocol]:
    """Make a protocol class with these limits; uvicorn creates an instance per connection.

    A request's `state` has `abort`, which drops the connection and unsent data.
    """

    class BoundedProtocol(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None
        _refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.access_log = False  # uvicorn's log includes paths, which may contain what a user wrote
            self.app_state = {**self.app_state, "abort": transport.abort}
            if len(self.connections) > limits.connections:
                self._refuse(503, "there are too many connections")
                return
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_arrived()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            # data after a rejection is discarded, but read, so that the client can read the rejection
            if not self._refused:
                super().data_received(data)

        def handle_events(self) -> None:
            super().handle_events()
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                if self.conn.trailing_data[0]:  # the next request has begun
                    self._expect_head()
            else:
                self._head_arrived()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self.loop.call_later(limits.write_s, self.transport.abort)  # in case the client does not read

        def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
            error = sys.exc_info()[1]
            status = getattr(error, "error_status_hint", 400)
            self._refuse(status, "the headers are too large" if status == 431 else "this is no HTTP request")

        def _expect_head(self) -> None:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(limits.head_s, self._head_is_late)

        def _head_arrived(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _head_is_late(self) -> None:
            self._refuse(408, f"the headers did not come within {limits.head_s:g} s")

        def _refuse(self, status: int, message: str) -> None:
            """Answer without a request, and end the connection."""
            if self.transport.is_closing() or self._refused:
                return
            self._refused = True
            self._head_arrived()
            self.connections.discard(self)  # it no longer counts, and ends within LINGER_S
            body = json.dumps(ApiError(status, message).document()).encode()
            lines = [
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                "connection: close",
            ]
            if status == 503:
                lines.append("retry-after: 1")
            self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            self.transport.write_eof()
            self.flow.resume_reading()
            self.loop.call_later(LINGER_S, self.transport.abort)

    return BoundedProtocol


def abort(scope: Any) -> None:
    """Drop a request's connection and unsent data."""
    drop = scope.get("state", {}).get("abort")
    if drop is not None:
        drop()
