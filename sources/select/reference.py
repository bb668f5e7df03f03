"""Parsing a source as a user writes it: `owner/repo`, `owner/repo@revision`, `owner/repo:file.gguf`, or a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from llorch.base.printable import printable
from llorch.sources.errors import ChoiceNeeded, UnsafeName
from llorch.sources.select.names import require_safe
from llorch.sources.urls import without_secrets

# Source: huggingface_hub, `validate_repo_id`; names of before 2020 have no owner.
REPOSITORY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,255}")
LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")

HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")
MAIN = "main"


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository on a hub. revision: a branch, tag or commit. path: of one file; None to select among all."""

    repository: str
    revision: str = MAIN
    path: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{self.repository}{revision}" + (f":{self.path}" if self.path else "")


@dataclass(frozen=True, slots=True)
class UrlReference:
    """One file of a web server."""

    url: str

    @property
    def shown_url(self) -> str:
        """The URL without query and credentials, which may be secrets; safe to print and record."""
        return without_secrets(self.url)

    @property
    def name(self) -> str:
        """The file's name."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]

    def __str__(self) -> str:
        return self.shown_url


def parse_source(text: str, revision: str | None = None) -> HubReference | UrlReference:
    """Parse a source. revision: given separately, by an option.

    The URL of a file's page on a hub, as in a browser's address bar, refers to the file. Raises ChoiceNeeded for
    invalid text, and UnsafeName.
    """
    if "://" in text:
        return _parse_url(text, revision)
    rest, colon, path = text.partition(":")
    repository, at, written = rest.partition("@")
    if not REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        what = "it is neither owner/repository nor a URL"
        raise ChoiceNeeded(
            text, what, hint="write owner/repo, owner/repo@revision, owner/repo:file.gguf or https://…"
        )
    if at and revision is not None and written != revision:
        raise ChoiceNeeded(text, f"it says {printable(written)}, and --revision {printable(revision)}")
    wanted = written if at else revision if revision is not None else MAIN
    if not REVISION.fullmatch(wanted) or ".." in wanted:
        raise ChoiceNeeded(text, f"{printable(wanted)} is no branch, tag or commit")
    if colon:
        require_safe(path, text)
    return HubReference(repository, wanted, path if colon else None)


def _parse_url(text: str, revision: str | None) -> HubReference | UrlReference:
    reference = UrlReference(text)
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
        _ = parts.port
    except ValueError as error:
        raise ChoiceNeeded("the URL", f"cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ChoiceNeeded(reference.shown_url, "only https:// URLs are fetched")
    if host in HUB_HOSTS:
        return _page_of_hub(reference, parts.path, revision)
    if revision is not None:
        raise ChoiceNeeded(reference.shown_url, "a URL has no --revision")
    if parts.scheme == "http" and not LOOPBACK.fullmatch(host):
        what = "plain http is fetched from this machine alone"
        raise ChoiceNeeded(
            reference.shown_url, what, hint="anybody on the way could change the file; use https://"
        )
    if not reference.name:
        raise ChoiceNeeded(reference.shown_url, "it names no file")
    try:
        require_safe(reference.name, reference.shown_url)
    except UnsafeName as error:
        error.hint = ""
        raise
    return reference


def _page_of_hub(reference: UrlReference, path: str, revision: str | None) -> HubReference:
    """Parse a hub's `/owner/repo`, `/owner/repo/tree/REV` or `/owner/repo/{resolve,blob,raw}/REV/FILE`."""
    words = [unquote(word) for word in path.strip("/").split("/")]
    repository, rest = "/".join(words[:2]), words[2:]
    if len(words) == 2 or (len(rest) == 2 and rest[0] == "tree"):
        return _hub(repository, rest[1] if rest else None, None, revision)
    if len(rest) >= 3 and rest[0] in ("resolve", "blob", "raw"):
        return _hub(repository, rest[1], "/".join(rest[2:]), revision)
    raise ChoiceNeeded(reference.shown_url, "it is neither a repository's page nor a file's")


def _hub(repository: str, written: str | None, path: str | None, revision: str | None) -> HubReference:
    text = repository + (f"@{written}" if written else "") + (f":{path}" if path else "")
    found = parse_source(text, revision)
    assert isinstance(found, HubReference), "there is no :// in it"
    return found
