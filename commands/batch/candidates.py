"""The SOURCES of a plan: finding GGUF models on disk, on a hub, at a URL or in the registry; only headers are read."""

from __future__ import annotations

import glob
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch import sources
from llorch.base.errors import InputError, MalformedInput
from llorch.base.home import expand_home
from llorch.registry import Filter, HashedFile, Registry, sha256_of, tree1

if TYPE_CHECKING:
    from llorch.registry import Location
    from llorch.sources import FileFilter, HubReference, LocalModel, Offer, Preview, RemoteFile, UrlReference

LIST_SUFFIX = ".txt"
REGISTRY = "registry:"
GLOB = re.compile(r"[*?\[]")
QUERIES = ("name", "kind", "architecture", "dtype", "verified")
ONLY_VOCABULARY = "holds a vocabulary and no tensor: llorch-convert writes its tokenizer"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be converted. source: its path, hub reference or URL. title: its folder is named after it.

    identity: `sha256:` or `tree1:` digest of its files, else its pinned revision; empty if unknown. preview: from its
    header, None if that could not be read. trouble: why the model cannot be accessed.
    """

    source: str
    title: str
    identity: str
    size_bytes: int
    is_here: bool
    preview: Preview | None = None
    trouble: str | None = None

    @property
    def refused(self) -> str | None:
        """Why it cannot be converted; None if it can."""
        if self.trouble is not None:
            return self.trouble
        if self.preview is None:
            return "its header could not be read before it is here"
        if self.preview.why_not is not None:
            return self.preview.why_not
        return ONLY_VOCABULARY if self.preview.converted_size is None else None


def candidates(words: Sequence[str], wish: FileFilter, location: Location) -> Iterator[Candidate]:
    """Yield the models of SOURCES: a file, a folder, a glob, a .txt list of sources, a registry query such as
    `registry:architecture=llama`, owner/repo, or a URL.

    wish: which files of a repository. A source that cannot be accessed gives a candidate with `trouble`. Raises
    UsageError for a glob that matches nothing or an invalid query.
    """
    for word in words:
        path = expand_home(word)
        if word.startswith(REGISTRY):
            yield from _of_registry(word, location)
        elif path.is_file() and path.suffix == LIST_SUFFIX:
            yield from candidates(_read_list(path), wish, location)
        elif path.exists():
            yield from _of_path(path)
        elif GLOB.search(word) and "://" not in word:
            found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # absolute patterns, which Path.glob refuses
            if not found:
                raise click.UsageError(f"nothing matches {word!r}")
            yield from candidates(found, wish, location)
        elif path.is_absolute() or (path.suffix.lower() == ".gguf" and ":" not in word):
            yield Candidate(
                str(path.absolute()), path.name, "", 0, is_here=True, trouble="no such file or folder"
            )
        else:
            yield from _of_remote(word, wish)


def _read_list(path: Path) -> list[str]:
    """Read a list of sources: one per line, `#` starts a comment; paths are relative to the list's folder."""
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise MalformedInput("is not UTF-8, so it is no list of sources", path=path) from error
    return [str(path.parent / line) if (path.parent / line).exists() else line for line in lines if line]


def _of_path(path: Path) -> Iterator[Candidate]:
    try:
        found = sources.find_models(path)
    except (sources.SourceError, InputError) as error:
        yield Candidate(str(path.absolute()), path.stem, "", 0, is_here=True, trouble=str(error))
        return
    for model in found:
        if any(sources.ending(place.name) == ".safetensors" for _, place in model.files):
            continue  # nothing to convert
        yield _local(model)


def _local(model: LocalModel) -> Candidate:
    """Return the candidate of a file or split set on this disk, after hashing it."""
    paths = [path for _, path in model.files]
    size = sum(path.stat().st_size for path in paths)
    source = os.path.abspath(paths[0])  # noqa: PTH100  # resolve() would follow links
    title = model.files[0][0].name
    try:
        preview = sources.preview_file(paths[0])
        identity = digest_of([(path.name, sha256_of(path), path.stat().st_size) for path in paths])
    except OSError as error:
        return Candidate(source, title, "", size, is_here=True, trouble=f"cannot be read: {error.strerror}")
    return Candidate(source, title, identity, size, is_here=True, preview=preview)


def digest_of(files: Sequence[tuple[str, str, int]]) -> str:
    """Return the registry's digest of a GGUF file or split set. files: (name, SHA-256, size)."""
    if len(files) == 1:
        return f"sha256:{files[0][1]}"
    return tree1(HashedFile(*file) for file in files)


def _of_registry(word: str, location: Location) -> Iterator[Candidate]:
    """Yield the GGUF models on this machine that match a registry query, or are the source of a match."""
    chosen = dict(part.partition("=")[::2] for part in word.removeprefix(REGISTRY).split(",") if part)
    if unknown := sorted(chosen.keys() - set(QUERIES)):
        known = ", ".join(QUERIES)
        raise click.UsageError(
            f"{word!r} asks for {', '.join(unknown)}; known are {known}, as {REGISTRY}dtype=Q4_K"
        )
    with Registry(location.url) as store:
        digests = dict.fromkeys(
            digest
            for row in store.list(Filter(**chosen), limit=None)  # type: ignore[arg-type]  # its keys were checked
            for digest in ([row.digest] if row.kind.startswith("gguf") else _inputs(store, row.digest))
        )
        answers = [store.show(digest) for digest in digests]
    for answer in answers:
        places = [Path(one.path) for one in getattr(answer, "places", ()) if one.host == socket.gethostname()]
        here = next((path for path in places if path.is_file()), None)
        if here is not None:
            yield from _of_path(here)


def _inputs(store: Registry, digest: str) -> list[str]:
    """Return the digests of the artifacts that an artifact was made from."""
    return [arrow.digest for arrow in store.lineage(digest).arrows if arrow.role == "input"]


def _of_remote(word: str, wish: FileFilter) -> Iterator[Candidate]:
    """Yield the models of a hub repository or URL; their headers are read by range requests."""
    try:
        reference = sources.parse_source(word)
        single = not isinstance(reference, sources.HubReference) or reference.path is not None
        wanted = sources.FileFilter() if single else wish
        with sources.open_source(reference, wanted) as remote, tempfile.TemporaryDirectory() as scratch:
            offer = remote.offer
            models = sources.models_of(offer.files)
            previews = _previews(remote, Path(scratch)) if models else []
    except (sources.SourceError, InputError) as error:
        yield Candidate(word, word.rpartition("/")[2], "", 0, is_here=False, trouble=str(error))
        return
    if not models:
        yield Candidate(
            word, word.rpartition("/")[2], "", offer.size, is_here=False, trouble="it holds no GGUF file"
        )
    for number, files in enumerate(models):
        yield _remote(reference, offer, files, previews[number] if number < len(previews) else None)


def _previews(remote: sources.Remote, scratch: Path) -> Sequence[Preview]:
    try:
        return sources.preview_models(remote, scratch)
    except sources.NoRanges:
        return []


def _remote(
    reference: HubReference | UrlReference, offer: Offer, files: Sequence[RemoteFile], preview: Preview | None
) -> Candidate:
    """Return the candidate of one model of an offer, pinned to its commit, digest or ETag."""
    size = sum(file.size or 0 for file in files)
    first = files[0]
    trouble = None
    if isinstance(reference, sources.UrlReference):
        source, title = reference.shown_url, first.name
        identity = f"url:{source} {first.etag}" if first.etag else ""
        if source != reference.url:
            trouble = "its query or password may be a secret, which a plan does not hold: fetch it, and plan the file"
        elif not identity and first.sha256 is None:
            trouble = "its server names neither a digest nor an ETag: fetch it, and plan the file"
    else:
        source = f"{offer.repository}@{offer.revision}:{first.path}"
        title = f"{offer.repository.replace('/', '--')}--{first.path.replace('/', '--')}"
        identity = f"hub:{source}"
    digests = [(file.name, file.sha256, file.size or 0) for file in files if file.sha256 is not None]
    if len(digests) == len(files):
        identity = digest_of(digests)
    return Candidate(source, title, identity, size, is_here=False, preview=preview, trouble=trouble)
