"""Downloads: git's files from the hub, LFS files from the CDN, and the website's files.

Source of the headers: huggingface_hub 2.4, `file_download.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlencode

from tests.hub.access import not_found, require_access, require_commit, require_repository
from tests.hub.answer import Answer, Asked, part_of, whole
from tests.hub.hub import Hub
from tests.hub.repository import File

SIGNING_KEY = b"the key of the CDN"


def resolve(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """Return a file stored in git, or a redirect to the CDN with the metadata of an LFS file."""
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


def signed(hub: Hub, path: str) -> str:
    """Return a signed URL of the CDN, which needs no token."""
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Expires": "3600",
        "X-Amz-Signature": signature(path),
    }
    return f"{hub.addresses.cdn}{path}?{urlencode(query)}"


def signature(path: str) -> str:
    """Return the signature that the CDN accepts for a path."""
    return hashlib.sha256(SIGNING_KEY + path.encode()).hexdigest()


def stored(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """Return the CDN's file for a URL signed by the hub, else 403."""
    path = asked.target.partition("?")[0]
    if asked.query.get("X-Amz-Signature") != [signature(path)]:
        return whole(403, b"<Error><Code>AccessDenied</Code></Error>", {"content-type": "application/xml"})
    commit = hub.repositories[parameters["repository"]].commits[parameters["commit"]]
    file = commit.tree.file(unquote(parameters["path"]))
    assert file is not None, "the hub signs what it has"
    return served(hub, asked, file)


def published(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """Return a file of the website."""
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
