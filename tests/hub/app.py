"""The three ASGI applications: the hub, the CDN with its LFS files, and a plain website.

Each makes an `Answer` of a request; where that differs from the truth, a fault said so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.hub.access import Problem
from tests.hub.answer import Answer, Asked, send_answer
from tests.hub.api import model, paths_info, tree, who_am_i
from tests.hub.files import no_file, published, resolve, stored
from tests.hub.hub import Hub

Handler = Callable[[Hub, Asked, Mapping[str, str]], Answer]


class RepositoryId(Convertor[str]):
    """A URL convertor for a repository id: one or two parts of a path."""

    regex = "[^/]+(/[^/]+)?"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value)


register_url_convertor("repository", RepositoryId())


def application(hub: Hub, server: str) -> ASGIApp:
    """Return the application of a server: "hub", "cdn" or "site"."""
    routes = [
        Route(path, endpoint(hub, server, handler), methods=list(methods))
        for path, methods, handler in ROUTES[server]
    ]
    inner = Starlette(debug=True, routes=routes)

    async def undecoded(scope: Scope, receive: Receive, send: Send) -> None:
        """Route by the raw path: %2F in a revision or a file's name is not a slash."""
        await inner({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send)

    return undecoded


def endpoint(hub: Hub, server: str, handler: Handler) -> Callable[[Request], Awaitable[ASGIApp]]:
    """Return Starlette's endpoint: it calls the handler, applies the faults and records the exchange."""

    async def answer(request: Request) -> ASGIApp:
        asked = Asked(
            server,
            request.method,
            unquote(request.scope["path"]),
            request.scope["path"] + "?" * bool(request.url.query) + request.url.query,
            {name.lower(): value for name, value in request.headers.items()},
            await request.body(),
        )
        number = hub.exchanges.begin(asked)
        try:
            made = made_answer(hub, handler, asked, request.path_params)
        except Exception:  # a mistake of the hub's own: Starlette answers with the traceback
            hub.exchanges.answered(number, 500)
            hub.exchanges.over(number)
            raise

        async def sending(scope: Scope, receive: Receive, send: Send) -> None:
            hub.exchanges.answered(number, made.status)
            try:
                await send_answer(
                    made, asked.method, receive, send, lambda size: hub.exchanges.sent(number, size)
                )
            finally:
                hub.exchanges.over(number)

        return sending

    return answer


def made_answer(hub: Hub, handler: Handler, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """Return the handler's answer, or that of the Problem it raised, as changed by the faults."""
    asked = replace(asked, subject=subject_of(asked, parameters))
    try:
        answer = handler(hub, hub.faults.understood(asked), parameters)
    except Problem as problem:
        answer = problem.answer
    return hub.faults.answered(answer, asked)


def subject_of(asked: Asked, parameters: Mapping[str, str]) -> str:
    """Return `owner/name/path` for a request for a file, `owner/name` for another about a repository."""
    repository, path = parameters.get("repository", ""), unquote(parameters.get("path", ""))
    return f"{repository}/{path}" if asked.server == "cdn" or "/resolve/" in asked.target else repository


def no_such_page(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    raise Problem(404, None, "Sorry, we can't find the page you are looking for.")


READ, POST = ("GET", "HEAD"), ("POST",)
ANY = (*READ, "POST", "PUT", "PATCH", "DELETE")
MODEL = "/api/models/{repository:repository}"
ROUTES: dict[str, list[tuple[str, tuple[str, ...], Handler]]] = {
    "hub": [
        ("/api/whoami-v2", READ, who_am_i),
        (MODEL + "/paths-info/{revision}", POST, paths_info),
        (MODEL + "/tree/{revision}/{path:path}", READ, tree),
        (MODEL + "/tree/{revision}", READ, tree),
        (MODEL + "/revision/{revision}", READ, model),
        (MODEL, READ, model),
        ("/{repository:repository}/resolve/{revision}/{path:path}", READ, resolve),
        ("/{path:path}", ANY, no_such_page),
    ],
    "cdn": [
        ("/{repository:repository}/{commit}/{path:path}", READ, stored),
        ("/{path:path}", ANY, no_file),
    ],
    "site": [
        ("/files/{path:path}", READ, published),
        ("/{path:path}", ANY, no_file),
    ],
}
