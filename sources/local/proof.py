"""Checks of downloaded files: digests against the source's, and the structure of every file whose format is known.

Each file is checked by its own bytes; then the set of files for consistency.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.formats import INDEX, read_safetensors
from llorch.formats.gguf import read_header
from llorch.formats.tokenizer import build_tokenizer, guard
from llorch.sources.offer import RemoteFile
from llorch.sources.select.files import ending, models_of

PIECE = 1 << 20  # bytes hashed at a time
POINTER = b"version https://git-lfs"
MOST_JSON = 256 << 20  # bytes of a JSON file; the largest tokenizer.json known has some 35 million


@dataclass(frozen=True, slots=True)
class Proven:
    """A file that passed its check. sha256: of its bytes. promised: the digest it was compared with, if any."""

    path: str
    size: int
    sha256: str
    promised: str | None
    etag: str | None = None


class NotAsPromised(Exception):
    """A file's size or digest is not as its source promised; `str()` has both, and what the file looks like."""


def prove(
    file: RemoteFile,
    path: Path,
    seen: str | None = None,
    *,
    progress: Callable[[int], object] | None = None,
) -> Proven:
    """Compare the file at `path` with the size and digest that its source promises.

    seen: its SHA-256 if it was hashed during the download; otherwise the file is read. progress: called with the number
    of bytes read so far. Raises NotAsPromised.
    """
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise NotAsPromised(f"it has {size:,} bytes, {file.size:,} were promised{_looks_like(path)}")
    git_sha1 = None
    if seen is None or (file.git_sha1 and not file.sha256):
        seen, git_sha1 = digests(path, with_git=bool(file.git_sha1 and not file.sha256), progress=progress)
    if file.sha256 and seen != file.sha256:
        raise NotAsPromised(f"its SHA-256 is {seen}, {file.sha256} was promised{_looks_like(path)}")
    if git_sha1 is not None and git_sha1 != file.git_sha1:
        raise NotAsPromised(f"its git blob id is {git_sha1}, {file.git_sha1} was promised{_looks_like(path)}")
    return Proven(file.path, size, seen, file.promised, file.etag)


def digests(
    path: Path, *, with_git: bool = False, progress: Callable[[int], object] | None = None
) -> tuple[str, str | None]:
    """Return the SHA-256 of a file and, with `with_git`, its git blob id; reads the file once."""
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False) if with_git else None
    buffer = bytearray(PIECE)
    view, read = memoryview(buffer), 0
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            sha256.update(view[:count])
            if git is not None:
                git.update(view[:count])
            read += count
            if progress is not None:
                progress(read)
    return sha256.hexdigest(), None if git is None else git.hexdigest()


def require_sound(folder: Path, files: Sequence[RemoteFile]) -> Mapping[str, int]:
    """Check the structure of all files of known formats in `folder`; return check → number of files it covered.

    Raises MalformedInput, which names the file: for a GGUF file or set with a wrong header, range, part or vocabulary,
    a safetensors file or index with a wrong header or range, or an unreadable JSON file or tokenizer. A file that is
    merely unsupported passes.
    """
    done = Counter[str]()
    for name, path in _to_read(folder, files):
        try:
            done[name] += READERS[name](path)
        except UnsupportedInput:
            continue
        except InputError as error:
            error.in_file(path)
            error.what += _looks_like(Path(error.path or path))
            raise
    return done


def _to_read(folder: Path, files: Sequence[RemoteFile]) -> Iterator[tuple[str, Path]]:
    """Yield (check, path) for every file of a known format; for a split set, its first part."""
    for model in models_of(files):
        yield "gguf.structure", folder / model[0].path
    for file in files:
        path = folder / file.path
        if ending(path.name) == ".safetensors":
            yield "safetensors.structure", path
        elif ending(path.name) == ".json":
            yield "json.readable", path
        if path.name == INDEX:
            yield "safetensors.index", path
        elif path.name == "tokenizer.json":
            yield "tokenizer.readable", path


def _read_gguf(path: Path) -> int:
    header = read_header(path)
    if "tokenizer.ggml.model" in header.metadata:
        build_tokenizer(header.metadata)
    return len(header.parts)


def _read_safetensors(path: Path) -> int:
    read_safetensors(path)
    return 1


def _read_index(path: Path) -> int:
    return len(read_safetensors(path.parent, links=True).parts)


def _read_json(path: Path) -> int:
    size = path.stat().st_size
    if size > MOST_JSON:
        raise MalformedInput(f"has {size} bytes, more than the limit {MOST_JSON} of a JSON file")
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MalformedInput(f"is no JSON: {error}") from None
    return 1


def _read_tokenizer(path: Path) -> int:
    from tokenizers import Tokenizer  # takes 40 ms, and is only needed for a folder

    guard(lambda: Tokenizer.from_file(str(path)))
    return 1


# check → function that reads a file, raises for a malformed one, and returns the number of files it read.
READERS: Mapping[str, Callable[[Path], int]] = {
    "gguf.structure": _read_gguf,
    "safetensors.structure": _read_safetensors,
    "safetensors.index": _read_index,
    "json.readable": _read_json,
    "tokenizer.readable": _read_tokenizer,
}


def _looks_like(path: Path) -> str:
    """Return whether a file is one of the two things that servers send instead of a model, in words; else ""."""
    with path.open("rb") as stream:
        head = stream.read(len(POINTER)).lstrip()
    if head.startswith(POINTER):
        return ": it is a pointer of git-lfs, not what it points to"
    return ": it is a page of HTML" if head.startswith(b"<") else ""
