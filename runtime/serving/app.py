"""The ASGI application: all paths with their handlers, behind one guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from llorch.runtime.serving.openapi import Endpoint, openapi_document
from llorch.runtime.serving.routes.llama_server import LlamaServer
from llorch.runtime.serving.routes.openai import OpenAI
from llorch.runtime.serving.routes.status import Status, not_found, page
from llorch.runtime.serving.routes.worker import Worker
from llorch.runtime.serving.schemas import llama_server, openai, worker
from llorch.runtime.serving.service import Service
from llorch.runtime.serving.transport.guard import Guard

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Path:
    """One path of the API. open: whether it needs no key. stream: whether it can answer with server-sent events."""

    method: str
    path: str
    answer: Answer
    body: type[BaseModel] | None = None
    open: bool = False
    stream: bool = False
    shown: bool = True  # in the OpenAPI description


def paths(service: Service) -> Sequence[Path]:
    """All paths of the API."""
    openai_routes, llama, work, status = (
        OpenAI(service),
        LlamaServer(service),
        Worker(service),
        Status(service),
    )
    completion = llama_server.Completion
    return (
        Path("GET", "/", page, open=True, shown=False),
        Path("GET", "/page.js", page, open=True, shown=False),
        Path("GET", "/page.css", page, open=True, shown=False),
        Path("GET", "/health", status.health, open=True),
        Path("GET", "/metrics", status.metrics),
        Path("GET", "/provenance", status.provenance),
        Path("GET", "/v1/models", openai_routes.models),
        Path("GET", "/v1/models/{name:path}", openai_routes.model),
        Path("POST", "/v1/chat/completions", openai_routes.chat, openai.ChatCompletion, stream=True),
        Path("POST", "/v1/completions", openai_routes.text, openai.TextCompletion, stream=True),
        Path("POST", "/tokenize", llama.tokenize, llama_server.Tokenize),
        Path("POST", "/detokenize", llama.detokenize, llama_server.Detokenize),
        Path("POST", "/apply-template", llama.apply_template, llama_server.ApplyTemplate),
        Path("POST", "/completion", llama.completion, completion, stream=True),
        Path("GET", "/props", llama.props),
        Path("POST", "/execute", work.execute, worker.Execute, stream=True),
        Path("POST", "/cancel", work.cancel, worker.Cancel),
    )


def make_app(service: Service) -> ASGIApp:
    """Build the ASGI application for a service."""
    table = paths(service)
    document = openapi_document(
        [
            Endpoint(one.method, one.path, one.answer.__doc__ or "", one.body, one.stream, one.open)
            for one in table
            if one.shown
        ],
        keys=bool(service.settings.keys),
    )

    async def openapi(_: Request) -> Response:
        return JSONResponse(document)

    routes = [Route(one.path, one.answer, methods=[one.method]) for one in table]
    routes.append(Route("/openapi.json", openapi, methods=["GET"]))
    router = Router(routes, redirect_slashes=False, default=not_found)
    opened = {one.path for one in table if one.open}
    return Guard(router, service, open=opened, known={"/openapi.json", *(one.path for one in table)})
