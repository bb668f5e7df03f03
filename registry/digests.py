"""Digests of content: `sha256:` of a file, `tree1:` of a folder, `weights1:` of tensors in any files.

A digest is a label, a colon and 64 lower-case hex digits. A tree or weights digest is the SHA-256 of a canonical JSON
document, which names its schema so that the two kinds cannot collide.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llorch.base.progress import Progress
from llorch.base.record_files import PROVENANCE, RECORD
from llorch.registry.errors import RefusedRecord, quote_text

LABELS = ("sha256", "tree1", "weights1")
DIGEST = re.compile(rf"(?:{'|'.join(LABELS)}):[0-9a-f]{{64}}")
SHA256 = re.compile(r"[0-9a-f]{64}")

# Top-level names that `tree1` leaves out: version control, the hub client's cache, and records of runs, which contain
# times and so differ between equal results. The lists are part of the label's definition: a change needs "tree2".
EXCLUDED = frozenset((".git", ".gitignore", ".gitattributes", ".github", ".cache"))
RECORDS = frozenset((RECORD, PROVENANCE, "bom.cdx.json", "model.sig"))

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file of a folder. path: relative, with `/`. sha256: 64 hex digits."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class HashedTensor:
    """A tensor, regardless of its file. shape: outermost dimension first. sha256: of its bytes, without padding."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


def canonical_json(document: object) -> bytes:
    """Return a document's canonical JSON: keys sorted, no spaces, UTF-8 unescaped, no NaN.

    Equal to RFC 8785 for documents whose keys are ASCII and whose numbers are integers below 2^53.
    Raises ValueError for NaN, infinity and half a surrogate pair.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def tree1(files: Iterable[HashedFile]) -> str:
    """Return the digest of a folder: `tree1:` and the SHA-256 of its manifest. Raises RefusedRecord.

    Files whose top-level name is in `EXCLUDED` or `RECORDS` are left out.
    """
    return "tree1:" + hashlib.sha256(tree_manifest(files)).hexdigest()


def tree_manifest(files: Iterable[HashedFile]) -> bytes:
    """Return the JSON that `tree1` hashes: every file's path, SHA-256 and size, sorted by the bytes of the path."""
    kept = sorted((file for file in files if not is_excluded(file.path)), key=lambda file: file.path.encode())
    if not kept:
        raise RefusedRecord("a folder without files has no digest")
    for file, following in itertools.pairwise(kept):
        if file.path == following.path:
            raise RefusedRecord(f"{quote_text(file.path)} is listed twice")
    rows = [
        {"path": require_path(file.path), "sha256": require_sha256(file.sha256), "size": file.size_bytes}
        for file in kept
    ]
    return canonical_json({"files": rows, "schema": "llorch.tree/v1"})


def weights1(tensors: Iterable[HashedTensor]) -> str:
    """Return the digest of tensors, independent of their files and order. Raises RefusedRecord."""
    ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    names = [tensor.name for tensor in ordered]
    if not names:
        raise RefusedRecord("no tensors have no digest")
    if len(set(names)) < len(names):
        twice = next(name for name, following in itertools.pairwise(names) if name == following)
        raise RefusedRecord(f"tensor {quote_text(twice)} is there twice")
    rows = [
        {"dtype": t.dtype, "name": t.name, "sha256": require_sha256(t.sha256), "shape": list(t.shape)}
        for t in ordered
    ]
    document = canonical_json({"schema": "llorch.weights/v1", "tensors": rows})
    return "weights1:" + hashlib.sha256(document).hexdigest()


def digest_of(path: Path, progress: Progress | None = None) -> str:
    """Return the `sha256:` of a file or the `tree1:` of a folder on the disk. Raises OSError and RefusedRecord."""
    if path.is_dir():
        return tree1(hashed_files(path, progress))
    return "sha256:" + sha256_of(path, progress)


def hashed_files(
    folder: Path, progress: Progress | None = None, sha256: Callable[[Path], str] | None = None
) -> list[HashedFile]:
    """Hash every file of a folder except the excluded ones; records of runs are included, for their own rows.

    sha256: the function that hashes a file, by default `sha256_of`.
    """
    paths = list(walk(folder))
    total, done, hashed = sum(size for _, size in paths), 0, []
    for path, size in paths:
        if sha256 is None:
            within = None if progress is None else part_of(progress, done, total)
            digest = sha256_of(folder / path, within)
        else:
            digest = sha256(folder / path)
        hashed.append(HashedFile(path, digest, size))
        done += size
    return hashed


def part_of(progress: Progress, before: int, total: int) -> Progress:
    """Return a progress for one file that reports its bytes as part of `total`, after the `before` earlier ones."""
    return lambda done, _: progress(before + done, total)


def walk(folder: Path) -> Iterable[tuple[str, int]]:
    """Yield the paths and sizes of the regular files below `folder`, following links to files.

    A hub cache consists of links to files, so these are followed; a link to a folder, a pipe or a device is refused
    with RefusedRecord. Empty folders are ignored.
    """
    for parent, folders, names in os.walk(folder, onerror=reraise):
        at = Path(parent).relative_to(folder)
        if at == Path():
            folders[:] = [name for name in folders if name not in EXCLUDED]
            names = [name for name in names if name not in EXCLUDED]
        folders.sort()
        for name in folders:
            if (Path(parent) / name).is_symlink():
                raise RefusedRecord(
                    f"{quote_text(str(at / name))} links to a folder: it is no part of a tree"
                )
        for name in sorted(names):
            path = require_path(PurePosixPath(at / name).as_posix())
            status = (Path(parent) / name).stat()
            if not stat.S_ISREG(status.st_mode):
                raise RefusedRecord(f"{quote_text(path)} is no regular file")
            yield path, status.st_size


def reraise(error: OSError) -> None:
    """Raise the error: a folder that cannot be read must not be treated as empty."""
    raise error


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """Return the SHA-256 of a file, in hex; reads it in chunks."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(done, total)
    return digest.hexdigest()


def is_excluded(path: str) -> bool:
    """Return whether `tree1` leaves out this path of a folder."""
    return path.split("/", 1)[0] in EXCLUDED or path in RECORDS


def require_path(path: str) -> str:
    """Return `path` if it is relative, with `/`, in UTF-8 and without control characters; else raise RefusedRecord."""
    parts: Sequence[str] = path.split("/")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise RefusedRecord(f"the file name {quote_text(path)} is not UTF-8") from None
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in path):
        raise RefusedRecord(f"the file name {quote_text(path)} holds a control character")
    if any(part in ("", ".", "..") for part in parts):
        raise RefusedRecord(f"{quote_text(path)} is no path within a folder")
    return path


def require_sha256(text: str) -> str:
    """Return `text` if it is 64 lower-case hex digits; else raise RefusedRecord."""
    if not SHA256.fullmatch(text):
        raise RefusedRecord(f"{quote_text(text)} is no SHA-256: 64 lower-case hex digits")
    return text


def require_digest(text: str) -> str:
    """Return `text` if it is a label, a colon and 64 lower-case hex digits; else raise RefusedRecord."""
    if not DIGEST.fullmatch(text):
        raise RefusedRecord(
            f"{quote_text(text)} is no digest: {', '.join(LABELS)}, a colon and 64 hex digits"
        )
    return text
