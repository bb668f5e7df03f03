"""Endpoints about the server itself: health, metrics, provenance, and the web page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.service import Service

PAGE = Path(__file__).parent.parent / "page"


@dataclass(frozen=True, slots=True)
class Status:
    """The endpoints of one server."""

    service: Service

    async def health(self, _: Request) -> Response:
        """GET /health: 200 once requests are taken, 503 before and after; it waits for nothing."""
        self.service.require_ready()
        return JSONResponse({"status": "ok"})

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        content, media_type = self.service.metrics.page()
        return Response(content, media_type=media_type)

    async def provenance(self, _: Request) -> Response:
        """GET /provenance: what the served model was made from, and what its checks found."""
        card = self.service.card
        return JSONResponse(
            {
                "name": card.name,
                "digest": card.digest,
                "format": card.format,
                "architecture": card.architecture,
                "verification": card.verification,
                "provenance": dict(card.provenance),
            }
        )


async def page(request: Request) -> Response:
    """GET / and its files."""
    name = request.url.path.removeprefix("/") or "index.html"
    return FileResponse(PAGE / name, headers={"cache-control": "no-cache"})


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI's signature
    """Answer 404 for an unknown path."""
    raise ApiError(404, "there is no such path here", code="not_found")
