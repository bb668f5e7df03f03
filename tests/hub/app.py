"""The three applications: the hub's API and files, the CDN that has the LFS files, and a plain website.

Each makes an `Answer` of a request; where that differs from the truth, a fault said so. The protocol is the one that
huggingface_hub speaks: `file_download.py`, `hf_api.py`, `utils/_http.py`, `utils/_pagination.py` of its 2.4.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlencode

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.hub.answer import Answer, Asked, part_of, send_answer, whole
from tests.hub.hub import Hub
from tests.hub.repository import Commit, Entry, File, Repository, plain_file

SIGNING_KEY = b"the key of the CDN"
NOT_SCANNED = {"status": "unscanned", "avScan": None, "pickleImportScan": None}

Listed = TypeVar("Listed", File, Entry)
Handler = Callable[[Hub, Asked, Mapping[str, str]], Answer]


class RepositoryId(Convertor[str]):
    """One part of a path, or two."""

    regex = "[^/]+(/[^/]+)?"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value)


register_url_convertor("repository", RepositoryId())


class Problem(Exception):
    """What the hub refuses, as the answer that says so."""

    def __init__(
        self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        text = message.encode("ascii", "backslashreplace").decode()
        said = {"x-error-message": text, **({"x-error-code": code} if code else {}), **(headers or {})}
        self.answer = in_json({"error": message}, said, status)


def application(hub: Hub, server: str) -> ASGIApp:
    """The application of "hub", "cdn" or "site"."""
    routes = [
        Route(path, endpoint(hub, server, handler), methods=list(methods))
        for path, methods, handler in ROUTES[server]
    ]
    inner = Starlette(debug=True, routes=routes)

    async def undecoded(scope: Scope, receive: Receive, send: Send) -> None:
        """Routes by the path as it was sent: in a revision or a file's name %2F is no slash."""
        await inner({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send)

    return undecoded


def endpoint(hub: Hub, server: str, handler: Handler) -> Callable[[Request], Any]:
    """What Starlette calls: asks the handler, lets the faults speak, keeps the exchange."""

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
    """The handler's answer, or the refusal that it raised, as the faults let it be sent."""
    asked = replace(asked, subject=subject_of(asked, parameters))
    try:
        answer = handler(hub, hub.faults.understood(asked), parameters)
    except Problem as problem:
        answer = problem.answer
    return hub.faults.answered(answer, asked)


def subject_of(asked: Asked, parameters: Mapping[str, str]) -> str:
    """`owner/name/path` of a file's request, `owner/name` of another about a repository."""
    repository, path = parameters.get("repository", ""), unquote(parameters.get("path", ""))
    return f"{repository}/{path}" if asked.server == "cdn" or "/resolve/" in asked.target else repository


def in_json(value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    """An answer of the API."""
    data = json.dumps(value).encode()
    return whole(status, data, {"content-type": "application/json; charset=utf-8", **(headers or {})})


# Who may see what


def require_token(hub: Hub, asked: Asked) -> bool:
    """Whether the request has the token; refuses one that has another."""
    sent = asked.headers.get("authorization")
    if sent is not None and sent != f"Bearer {hub.token}":
        raise Problem(401, None, "Invalid credentials in Authorization header")
    return sent is not None


def require_repository(hub: Hub, asked: Asked, id: str) -> Repository:
    """The repository, if the request may know of it."""
    has_token = require_token(hub, asked)
    repository = hub.repositories.get(id)
    if repository is None or (repository.private and not has_token):
        if has_token:
            raise Problem(404, "RepoNotFound", "Repository not found")
        raise Problem(401, "RepoNotFound", "Invalid username or password.")
    return repository


def require_access(hub: Hub, asked: Asked, repository: Repository) -> None:
    """Refuses the files of a gated repository to whom it has not granted them."""
    if not repository.gated:
        return
    restricted = f"Access to model {repository.id} is restricted"
    if not require_token(hub, asked):
        raise Problem(
            401,
            "GatedRepo",
            f"{restricted}. You must have access to it and be authenticated to access it. Please log in.",
        )
    if not repository.granted:
        visit = f"Visit {hub.url}/{repository.id} to ask for access."
        raise Problem(403, "GatedRepo", f"{restricted} and you are not in the authorized list. {visit}")


def require_commit(repository: Repository, revision: str) -> Commit:
    """The commit that a revision names."""
    commit = repository.at(revision)
    if commit is None:
        raise Problem(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


# The hub's API


def who_am_i(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    if not require_token(hub, asked):
        raise Problem(401, None, "Invalid username or password.")
    return in_json({"type": "user", "name": "tests", "orgs": [], "auth": {"type": "access_token"}})


def model(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """What there is to say of a repository; with `expand` only the properties that it names."""
    repository = require_repository(hub, asked, parameters["repository"])
    commit = require_commit(repository, unquote(parameters.get("revision", "main")))
    query = query_of(asked)
    expand = set(query.get("expand", ()))
    has_sizes = is_true(query, "blobs")
    at = moment(commit.at)
    identity: dict[str, object] = {"_id": "65500000" + commit.id[:16], "id": repository.id}
    properties: dict[str, Callable[[], object]] = {
        "author": lambda: repository.id.partition("/")[0],
        "sha": lambda: commit.id,
        "private": lambda: repository.private,
        "gated": lambda: repository.gated,
        "disabled": lambda: False,
        "createdAt": lambda: moment(min(made.at for made in repository.commits.values())),
        "lastModified": lambda: at,
        "downloads": lambda: 0,
        "likes": lambda: 0,
        "tags": lambda: [f"license:{repository.card['license']}"] if "license" in repository.card else [],
        "cardData": lambda: repository.card,
        "siblings": lambda: [sibling(file, has_sizes) for file in files_of(hub, asked, repository, commit)],
    }
    chosen = {name: say() for name, say in properties.items() if not expand or name in expand}
    return in_json(identity | chosen)


def tree(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """A page of a folder's entries, and by Link where the next is."""
    repository = require_repository(hub, asked, parameters["repository"])
    commit = require_commit(repository, unquote(parameters["revision"]))
    folder = unquote(parameters.get("path", "")).strip("/")
    if folder and commit.tree.folder(folder) is None:
        raise not_found(folder, commit)
    query = query_of(asked)
    entries = commit.tree.entries(folder, recursive=is_true(query, "recursive"))
    limit = int(query.get("limit", [str(hub.page_size)])[0])
    start = int(base64.urlsafe_b64decode(query["cursor"][0])) if "cursor" in query else 0
    page = list(entries[start : start + limit])
    headers = {}
    if start + limit < len(entries):
        cursor = base64.urlsafe_b64encode(str(start + limit).encode()).decode()
        rest = urlencode(
            {**{name: values[0] for name, values in query.items()}, "limit": limit, "cursor": cursor}
        )
        headers["link"] = f'<{hub.url}{asked.target.partition("?")[0]}?{rest}>; rel="next"'
    else:
        page += [plain_file(path, b"") for path in hub.faults.also_listed(asked)]
    last = commit if is_true(query, "expand") else None
    return in_json([listed(declared(hub, asked, repository, entry), last) for entry in page], headers)


def paths_info(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """The entries of the paths that the form names; those that are not there are left out."""
    repository = require_repository(hub, asked, parameters["repository"])
    commit = require_commit(repository, unquote(parameters["revision"]))
    form = parse_qs(asked.body.decode())
    last = commit if is_true(form, "expand") else None
    found = [commit.tree.file(path) or commit.tree.folder(path) for path in form.get("paths", [])]
    return in_json([listed(declared(hub, asked, repository, entry), last) for entry in found if entry])


def no_such_page(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    raise Problem(404, None, "Sorry, we can't find the page you are looking for.")


def listed(entry: Entry, last: Commit | None) -> dict[str, object]:
    """An entry as `tree` and `paths-info` say it; with the listing's commit as its last if that is given."""
    said: dict[str, object]
    if isinstance(entry, File):
        said = {"type": "file", "oid": entry.blob_id, "size": entry.size, "path": entry.path}
        if entry.sha256 is not None:
            said["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
        if last is not None:
            said["securityFileStatus"] = NOT_SCANNED
    else:
        said = {"type": "directory", "oid": entry.tree_id, "size": 0, "path": entry.path}
    if last is not None:
        said["lastCommit"] = {"id": last.id, "title": last.message, "date": moment(last.at)}
    return said


def sibling(file: File, has_sizes: bool) -> dict[str, object]:
    """A file as `model` says it."""
    if not has_sizes:
        return {"rfilename": file.path}
    said: dict[str, object] = {"rfilename": file.path, "blobId": file.blob_id, "size": file.size}
    if file.sha256 is not None:
        said["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return said


def files_of(hub: Hub, asked: Asked, repository: Repository, commit: Commit) -> list[File]:
    """All files of a commit, and those that a fault lists besides, as they are declared."""
    entries = commit.tree.entries(recursive=True)
    files = [entry for entry in entries if isinstance(entry, File)]
    files += [plain_file(path, b"") for path in hub.faults.also_listed(asked)]
    return [declared(hub, asked, repository, file) for file in files]


def declared(hub: Hub, asked: Asked, repository: Repository, entry: Listed) -> Listed:
    """A listing's entry as the faults let it be said; they see a request about this file."""
    if not hub.faults.switches or not isinstance(entry, File):
        return entry
    return hub.faults.declared(entry, replace(asked, path="", subject=f"{repository.id}/{entry.path}"))


# The hub's files, and the CDN's


def resolve(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """A file of git's, or the way to the CDN and the metadata of the LFS file there."""
    repository = require_repository(hub, asked, parameters["repository"])
    require_access(hub, asked, repository)
    commit = require_commit(repository, unquote(parameters["revision"]))
    file = commit.tree.file(unquote(parameters["path"]))
    if file is None:
        raise not_found(unquote(parameters["path"]), commit)
    file = hub.faults.declared(file, asked)
    headers = {"x-repo-commit": commit.id}
    if file.sha256 is None:
        headers["content-type"] = "text/plain; charset=utf-8"
        return part_of(file, asked, headers)
    headers |= {"x-linked-size": str(file.size), "x-linked-etag": f'"{file.sha256}"'}
    headers["location"] = signed(hub, f"/{repository.id}/{commit.id}/{quote(file.path, safe='')}")
    return Answer(302, headers=headers)


def not_found(path: str, commit: Commit) -> Problem:
    """The commit has no such file or folder."""
    return Problem(404, "EntryNotFound", f"Entry not found: {path}", {"x-repo-commit": commit.id})


def signed(hub: Hub, path: str) -> str:
    """A URL of the CDN that opens without a token."""
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Expires": "3600",
        "X-Amz-Signature": signature(path),
    }
    return f"{hub.addresses.cdn}{path}?{urlencode(query)}"


def signature(path: str) -> str:
    """What the CDN lets in."""
    return hashlib.sha256(SIGNING_KEY + path.encode()).hexdigest()


def stored(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """The CDN's file, to whom the hub has sent there."""
    path = asked.target.partition("?")[0]
    if query_of(asked).get("X-Amz-Signature") != [signature(path)]:
        return whole(403, b"<Error><Code>AccessDenied</Code></Error>", {"content-type": "application/xml"})
    commit = hub.repositories[parameters["repository"]].commits[parameters["commit"]]
    file = commit.tree.file(unquote(parameters["path"]))
    assert file is not None, "the hub signs what it has"
    return served(hub, asked, file)


def published(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """The website's file."""
    file = hub.site.get(unquote(parameters["path"]))
    return served(hub, asked, file) if file else no_file(hub, asked, parameters)


def served(hub: Hub, asked: Asked, file: File) -> Answer:
    name = quote(file.path.rpartition("/")[2], safe="")
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": f'attachment; filename="{name}"',
    }
    return part_of(hub.faults.declared(file, asked), asked, headers)


def no_file(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    return whole(404, b"<html><body>Not Found</body></html>", {"content-type": "text/html"})


# Their parts


def query_of(asked: Asked) -> dict[str, list[str]]:
    return parse_qs(asked.target.partition("?")[2])


def is_true(query: Mapping[str, list[str]], name: str) -> bool:
    return query.get(name, [""])[0].lower() in ("true", "1")


def moment(seconds: int) -> str:
    """As the hub writes it: 2023-11-14T22:13:20.000Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


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
