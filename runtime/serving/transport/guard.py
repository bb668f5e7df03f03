"""The checks that every request passes first (headers, origin, key), and what every response gets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Container, Mapping
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.service import Service
from llorch.runtime.serving.settings import Settings
from llorch.runtime.serving.transport.event_stream import Disconnected

LOG = logging.getLogger("llorch.serving")
DISCARD_S = 10.0  # longest time to read and discard the rest of a request that was answered early,
DISCARD_PAUSE_S = 1.0  # and the longest pause in it
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Guard:
    """ASGI middleware around the routes. open: paths that need no key. known: paths that metrics may name."""

    def __init__(
        self, app: ASGIApp, service: Service, *, open: Container[str], known: Container[str]
    ) -> None:
        self._app = app
        self._service = service
        self._settings = service.settings
        self._open = open
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer with an error."""
        if scope["type"] != "http":
            return
        started = time.monotonic()
        status = 499  # stays if nothing is sent because the client is gone

        more_body = True

        async def receiving() -> Message:
            nonlocal more_body
            message = await receive()
            more_body = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *SECURITY_HEADERS]
            await send(message)

        try:
            self._check(scope)
            scope["app"] = self  # tells the router that its exceptions are handled
            await self._app(scope, receiving, sending)
        except (ApiError, HTTPException) as error:
            refusal = error if isinstance(error, ApiError) else from_starlette(error)
            await answer_error(refusal, sending)
            await discard(lambda: more_body, receiving)
            await sending({"type": "http.response.body", "body": b"", "more_body": False})
        except (Disconnected, ClientDisconnect):
            pass
        except Exception:  # the last resort for unexpected errors
            LOG.exception("a request failed")
            if status == 499:
                await answer_error(ApiError(500, "the server failed on this request"), sending)
                await sending({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                raise
        finally:
            self._record(scope, status, time.monotonic() - started)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        limits = self._settings.limits
        if len(headers) > limits.headers or sum(len(k) + len(v) for k, v in headers) > limits.head_bytes:
            raise ApiError(431, f"there are more than {limits.headers} headers, or they are too large")
        by_name = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers}
        check_origin(by_name, self._settings)
        if scope["path"] not in self._open and self._settings.keys:
            check_key(by_name, self._settings)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self._known else "other"
        self._service.metrics.answered(path, status, seconds)
        details = {"method": scope["method"], "path": path, "status": status, "ms": round(1000 * seconds, 1)}
        LOG.info("%(method)s %(path)s %(status)d", details, extra={"details": details})


SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", PAGE_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
]


def check_origin(headers: Mapping[str, str], settings: Settings) -> None:
    """Raise ApiError 403 for a foreign web page's request: from another origin, or to a host name that is not ours."""
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if settings.hosts is not None and name not in settings.hosts:
        raise ApiError(403, "this server is not addressed by that name", code="wrong_host")
    origin = headers.get("origin")
    if origin is not None and origin_host(origin) != host:
        raise ApiError(403, "requests from other origins are not taken", code="wrong_origin")


def origin_host(origin: str) -> str | None:
    """Host and port of an origin; None for an opaque one, as of a sandboxed page."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def check_key(headers: Mapping[str, str], settings: Settings) -> None:
    """Raise ApiError 401 unless an accepted key is sent, as a bearer token or in x-api-key."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not settings.keys.admits(key):
        raise ApiError(
            401,
            "a key is needed: authorization: Bearer …" if not key else "this key is not known",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


def from_starlette(error: HTTPException) -> ApiError:
    """Convert an error of the router, such as a wrong method."""
    return ApiError(error.status_code, error.detail, headers=error.headers)


async def answer_error(error: ApiError, send: Send) -> None:
    """Send an error response, except for its end."""
    response = JSONResponse(error.document(), status_code=error.status, headers=error.headers)
    await send(
        {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    await send({"type": "http.response.body", "body": response.body, "more_body": True})


async def discard(goes_on: Callable[[], bool], receive: Receive) -> None:
    """Read and discard the rest of a request that was answered early.

    Closing the connection in the middle of it could lose the answer.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while goes_on():
                await asyncio.wait_for(receive(), DISCARD_PAUSE_S)
