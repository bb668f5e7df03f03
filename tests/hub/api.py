"""The hub's API: repository information, paginated folder listings, and the token's user.

Source of the words: huggingface_hub 2.4, `hf_api.py` and `utils/_pagination.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlencode

from tests.hub.access import Problem, in_json, not_found, require_commit, require_repository, require_token
from tests.hub.answer import Answer, Asked
from tests.hub.hub import Hub
from tests.hub.repository import Commit, Entry, File, Repository, plain_file

NOT_SCANNED = {"status": "unscanned", "avScan": None, "pickleImportScan": None}

Listed = TypeVar("Listed", File, Entry)


def who_am_i(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    if not require_token(hub, asked):
        raise Problem(401, None, "Invalid username or password.")
    return in_json({"type": "user", "name": "tests", "orgs": [], "auth": {"type": "access_token"}})


def model(hub: Hub, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """Return a repository's information; with `expand` only the named properties."""
    repository = require_repository(hub, asked, parameters["repository"])
    commit = require_commit(repository, unquote(parameters.get("revision", "main")))
    query = asked.query
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
    """Return one page of a folder's entries, with the next page's URL in the Link header."""
    repository = require_repository(hub, asked, parameters["repository"])
    commit = require_commit(repository, unquote(parameters["revision"]))
    folder = unquote(parameters.get("path", "")).strip("/")
    if folder and commit.tree.folder(folder) is None:
        raise not_found(folder, commit)
    query = asked.query
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
    """Return the entries of the paths in the form; missing ones are left out."""
    repository = require_repository(hub, asked, parameters["repository"])
    commit = require_commit(repository, unquote(parameters["revision"]))
    form = parse_qs(asked.body.decode())
    last = commit if is_true(form, "expand") else None
    found = [commit.tree.file(path) or commit.tree.folder(path) for path in form.get("paths", [])]
    return in_json([listed(declared(hub, asked, repository, entry), last) for entry in found if entry])


def listed(entry: Entry, last: Commit | None) -> dict[str, object]:
    """Return an entry as `tree` and `paths-info` give it. last: the commit to give as its last, if any."""
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
    """Return a file as `model` lists it."""
    if not has_sizes:
        return {"rfilename": file.path}
    said: dict[str, object] = {"rfilename": file.path, "blobId": file.blob_id, "size": file.size}
    if file.sha256 is not None:
        said["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return said


def files_of(hub: Hub, asked: Asked, repository: Repository, commit: Commit) -> list[File]:
    """Return all files of a commit, and those added by a fault, as they are declared."""
    entries = commit.tree.entries(recursive=True)
    files = [entry for entry in entries if isinstance(entry, File)]
    files += [plain_file(path, b"") for path in hub.faults.also_listed(asked)]
    return [declared(hub, asked, repository, file) for file in files]


def declared(hub: Hub, asked: Asked, repository: Repository, entry: Listed) -> Listed:
    """Return a listing's entry as changed by the faults, which see a request for this file."""
    if not hub.faults.switches or not isinstance(entry, File):
        return entry
    return hub.faults.declared(entry, replace(asked, path="", subject=f"{repository.id}/{entry.path}"))


def is_true(query: Mapping[str, list[str]], name: str) -> bool:
    return query.get(name, [""])[0].lower() in ("true", "1")


def moment(seconds: int) -> str:
    """Return a Unix time in the hub's format: 2023-11-14T22:13:20.000Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
