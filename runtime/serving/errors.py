"""Errors that the server answers with, each with its HTTP status.

ApiError                a status and what an OpenAI client finds under "error"
├── Loading             503 until the model is loaded
├── Draining            503 from SIGTERM on
└── QueueFull           429, with the time after which it may be tried again
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

# OpenAI's error types, by status.
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}


class ApiError(Exception):
    """An error response.

    status: HTTP status. param: the field at fault. code: a stable identifier for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        closing = {"connection": "close"} if status in (408, 413, 431) else {}
        self.headers = {**closing, **(headers or {})}

    def document(self) -> dict[str, object]:
        """The response body, in OpenAI's form."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        code = self.code or HTTPStatus(self.status).name.lower()
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": code}}


class Loading(ApiError):
    """The model is not loaded yet."""

    def __init__(self) -> None:
        super().__init__(503, "the model is being loaded", code="loading", headers={"retry-after": "1"})


class Draining(ApiError):
    """The server is shutting down and accepts no new requests."""

    def __init__(self) -> None:
        super().__init__(503, "the server is shutting down", code="draining", headers={"retry-after": "5"})


class QueueFull(ApiError):
    """The queue has as many waiting requests as allowed."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        message = f"{waiting} requests are waiting already: try again in {retry_after_s} s"
        super().__init__(429, message, code="queue_full", headers={"retry-after": str(retry_after_s)})
