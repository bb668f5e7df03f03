"""Access control: the hub's error answers, with the headers by which its client tells them apart."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.hub.answer import Answer, Asked, whole
from tests.hub.hub import Hub
from tests.hub.repository import Commit, Repository


class Problem(Exception):
    """A refused request, with the error answer in `answer`."""

    def __init__(
        self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        text = message.encode("ascii", "backslashreplace").decode()
        said = {"x-error-message": text, **({"x-error-code": code} if code else {}), **(headers or {})}
        self.answer = in_json({"error": message}, said, status)


def in_json(value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    """Return a JSON answer of the API."""
    data = json.dumps(value).encode()
    return whole(status, data, {"content-type": "application/json; charset=utf-8", **(headers or {})})


def require_token(hub: Hub, asked: Asked) -> bool:
    """Return whether the request has the token; raises Problem 401 for another token."""
    sent = asked.headers.get("authorization")
    if sent is not None and sent != f"Bearer {hub.token}":
        raise Problem(401, None, "Invalid credentials in Authorization header")
    return sent is not None


def require_repository(hub: Hub, asked: Asked, id: str) -> Repository:
    """Return the repository; raises Problem if there is none or the request may not see it."""
    has_token = require_token(hub, asked)
    repository = hub.repositories.get(id)
    if repository is None or (repository.private and not has_token):
        if has_token:
            raise Problem(404, "RepoNotFound", "Repository not found")
        raise Problem(401, "RepoNotFound", "Invalid username or password.")
    return repository


def require_access(hub: Hub, asked: Asked, repository: Repository) -> None:
    """Raise Problem if the repository is gated and the request has no access."""
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
    """Return the commit of a revision; raises Problem 404."""
    commit = repository.at(revision)
    if commit is None:
        raise Problem(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


def not_found(path: str, commit: Commit) -> Problem:
    """Return the 404 for a file or folder that the commit lacks."""
    return Problem(404, "EntryNotFound", f"Entry not found: {path}", {"x-repo-commit": commit.id})
