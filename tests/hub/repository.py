"""A model repository: files with their ids in git and on the hub, commits, and branches.

Ids are git's own: of a file's bytes (for an LFS file of its pointer), of a folder, of a commit. Names are not judged:
a test that needs `../evil` in a listing commits it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, overload

LFS_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".model")
LFS_FROM_BYTES = 10_000_000  # "files larger than 10 MB" must be LFS: the hub's pre-receive hook
READ_SIZE = 1 << 20
FIRST_COMMIT_AT = 1_700_000_000  # 2023-11-14T22:13:20Z; every commit is a minute after the one before

# What a listing may call a file and a target folder must never hold, by the rule that each breaks.
HOSTILE_NAMES = {
    "parent": "../evil.gguf",
    "parent inside": "sub/../../evil.gguf",
    "absolute": "/tmp/evil.gguf",
    "current": "./evil.gguf",
    "empty part": "sub//evil.gguf",
    "backslash": "..\\evil.gguf",
    "drive": "C:evil.gguf",
    "device": "aux.gguf",
    "trailing dot": "evil.gguf.",
    "trailing blank": "evil.gguf ",
    "newline and escapes": "evil\n\x1b]0;owned\x07\x1b[2J.gguf",
    "null": "evil\0.gguf",
    "right to left": "evil\u202efugg.gguf",
    "too long": "e" * 300 + ".gguf",
}
EQUAL_UNDER_CASEFOLD = ("Model.gguf", "model.gguf")


@dataclass(frozen=True)
class DiskFile:
    """A file's content on disk; an LFS file is not read when it is committed if its digest is given.

    sha256: the digest to declare, 64 hex digits, true or not; None computes it when the file is committed.
    """

    path: Path
    sha256: str | None = None


Content = bytes | DiskFile


class Bytes(Protocol):
    """Bytes with a size, of which ranges can be read."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`, as far as they exist."""


@dataclass(frozen=True)
class InMemory:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        return self.data[start:stop]


@dataclass(frozen=True)
class OnDisk:
    """The bytes of a file on disk, perhaps sparse; each read opens it again, so that a test may change it."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def read(self, start: int, stop: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(max(0, stop - start))


@dataclass(frozen=True)
class File:
    """A file of a tree, with the metadata that the hub declares, which need not be true.

    size: what listing and headers say; `data.size` is what there is. etag: with its quotes, perhaps weak; None is none.
    blob_id: git's id, 40 hex digits; for an LFS file that of its pointer. sha256: of an LFS file, else None.
    """

    path: str
    data: Bytes
    size: int
    etag: str | None
    blob_id: str
    sha256: str | None = None
    pointer_size: int = 0


@dataclass(frozen=True)
class Folder:
    """A folder of a tree, with its git id."""

    path: str
    tree_id: str


Entry = File | Folder


def git_id(kind: str, body: bytes) -> str:
    """Return an object's git id: the SHA-1 of its kind, its length and its bytes."""
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(body)) + body).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Return the pointer that git stores for an LFS file. Source: git-lfs, docs/spec.md, "The Pointer"."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def bytes_of(content: Content) -> Bytes:
    """Return the bytes of a file's content."""
    return InMemory(content) if isinstance(content, bytes) else OnDisk(content.path)


def sha256_of(content: Content) -> str:
    """Return the digest that `content` declares, else its real SHA-256."""
    if isinstance(content, DiskFile) and content.sha256 is not None:
        return content.sha256
    digest, data = hashlib.sha256(), bytes_of(content)
    for start in range(0, data.size, READ_SIZE):
        digest.update(data.read(start, start + READ_SIZE))
    return digest.hexdigest()


def plain_file(path: str, content: Content) -> File:
    """Return a file stored in git itself."""
    data = bytes_of(content)
    blob_id = git_id("blob", data.read(0, data.size))
    return File(path, data, data.size, f'"{blob_id}"', blob_id)


def lfs_file(path: str, content: Content) -> File:
    """Return an LFS file, of which git stores a pointer."""
    data, sha256 = bytes_of(content), sha256_of(content)
    pointer = lfs_pointer(sha256, data.size)
    return File(path, data, data.size, f'"{sha256}"', git_id("blob", pointer), sha256, len(pointer))


class Tree(Protocol):
    """The files of one commit, in git's order."""

    id: str

    def file(self, path: str) -> File | None:
        """Return the file at a path, or None."""

    def folder(self, path: str) -> Folder | None:
        """Return the folder at a path, or None."""

    def entries(self, folder: str = "", *, recursive: bool = False) -> Sequence[Entry]:
        """Return a folder's entries ("" is the root); with `recursive` those of its subfolders too."""


class StoredTree:
    """A tree of files that were committed individually."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self.files = dict(files)
        self._folders: dict[str, Folder] = {}
        self._children: dict[str, list[Entry]] = {}
        self.id = self._gather("", sorted(self.files.values(), key=lambda file: file.path.encode()))

    def _gather(self, folder: str, files: Sequence[File]) -> str:
        """Record the direct entries of `folder`, given its files at any depth; return its git id."""
        start = len(folder) + 1 if folder else 0
        inside: dict[str, list[File]] = {}
        for file in files:
            inside.setdefault(file.path[start:].partition("/")[0], []).append(file)
        children: list[Entry] = []
        rows: list[tuple[bytes, str, str, str]] = []
        for name, held in inside.items():
            path = folder + "/" * bool(folder) + name
            deeper = [file for file in held if file.path != path] if name else []
            if not name:  # the path begins with / or holds //: it is listed, and in no folder
                children.extend(held)
            elif len(deeper) < len(held):
                children.append(held[0])
                rows.append((name.encode(), "100644", name, held[0].blob_id))
            if deeper:
                tree_id = self._gather(path, deeper)
                children.append(self._folders.setdefault(path, Folder(path, tree_id)))
                rows.append((name.encode() + b"/", "40000", name, tree_id))
        self._children[folder] = children
        return git_id(
            "tree",
            b"".join(
                f"{mode} {name}".encode() + b"\0" + bytes.fromhex(id) for _, mode, name, id in sorted(rows)
            ),
        )

    def file(self, path: str) -> File | None:
        return self.files.get(path)

    def folder(self, path: str) -> Folder | None:
        return self._folders.get(path)

    def entries(self, folder: str = "", *, recursive: bool = False) -> Sequence[Entry]:
        children = self._children.get(folder, [])
        if not recursive:
            return children
        deep: list[Entry] = []
        for child in children:
            deep.append(child)
            if isinstance(child, Folder):
                deep.extend(self.entries(child.path, recursive=True))
        return deep


class NumberedFiles(Sequence[Entry]):
    """Files with numbered names and the same content, created when accessed.

    template: has one field of fixed width for the number, `part-{:06}.txt`.
    """

    def __init__(self, count: int, template: str, content: bytes) -> None:
        self.total, self.template = count, template
        self._content = plain_file("", content)

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, index: int) -> File: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> File | list[Entry]:
        if isinstance(index, slice):
            return [self._file(number) for number in range(self.total)[index]]
        return self._file(range(self.total)[index])

    def _file(self, number: int) -> File:
        return replace(self._content, path=self.template.format(number))


class NumberedTree:
    """A flat tree of `NumberedFiles`, of any number."""

    def __init__(self, files: NumberedFiles) -> None:
        self.files = files
        self.id = git_id("tree", f"{files.total} × {files.template}: {files[0].blob_id}".encode())

    def file(self, path: str) -> File | None:
        before, _, after = self.files.template.partition("{")
        digits = path.removeprefix(before).removesuffix(after.partition("}")[2])
        if not (digits.isascii() and digits.isdigit() and int(digits) < self.files.total):
            return None
        file = self.files[int(digits)]
        return file if file.path == path else None

    def folder(self, path: str) -> Folder | None:
        return None

    def entries(self, folder: str = "", *, recursive: bool = False) -> Sequence[Entry]:
        return [] if folder else self.files


@dataclass(frozen=True)
class Commit:
    """A commit: a tree and its parent's id."""

    tree: Tree
    parent: str | None
    number: int
    message: str

    @cached_property
    def id(self) -> str:
        """The commit's git id."""
        parents = f"parent {self.parent}\n" if self.parent else ""
        who = f"tests <tests@localhost> {self.at} +0000"
        text = f"tree {self.tree.id}\n{parents}author {who}\ncommitter {who}\n\n{self.message}\n"
        return git_id("commit", text.encode())

    @property
    def at(self) -> int:
        """The commit's time, in seconds since 1970."""
        return FIRST_COMMIT_AT + 60 * self.number


class Repository:
    """A model's repository on the hub.

    id: `owner/name`. private: who has no token is told that there is none. gated: False, "auto" or "manual": files need
    a token. granted: whether the token's owner is on the list of a gated one. card: the card's data, with the licence.
    lfs_suffixes, lfs_from_bytes: which files are LFS.
    """

    def __init__(
        self,
        id: str,
        *,
        private: bool = False,
        gated: str | bool = False,
        granted: bool = True,
        card: Mapping[str, object] | None = None,
        lfs_suffixes: tuple[str, ...] = LFS_SUFFIXES,
        lfs_from_bytes: int = LFS_FROM_BYTES,
    ) -> None:
        self.id, self.private, self.gated, self.granted = id, private, gated, granted
        self.card = dict(card or {})
        self.lfs_suffixes, self.lfs_from_bytes = lfs_suffixes, lfs_from_bytes
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}

    def commit(
        self, files: Mapping[str, Content | None], *, branch: str = "main", message: str = "Upload files"
    ) -> str:
        """Commit to a branch: add files, replace them, or remove them with None.

        A new branch starts from nothing. Returns the commit's id, 40 hex digits.
        """
        tree = self.commits[self.branches[branch]].tree if branch in self.branches else StoredTree({})
        if not isinstance(tree, StoredTree):
            raise TypeError(f"branch {branch} holds numbered files, to which none can be added")
        made = {path: self._file(path, content) for path, content in files.items() if content is not None}
        kept = {path: file for path, file in tree.files.items() if path not in files}
        return self._move(branch, StoredTree(kept | made), message)

    def commit_numbered(
        self,
        count: int,
        template: str = "part-{:06}.txt",
        content: bytes = b"x",
        *,
        branch: str = "main",
        message: str = "Upload numbered files",
    ) -> str:
        """Commit only `count` small files; 100,000 of them cost nothing until they are listed."""
        return self._move(branch, NumberedTree(NumberedFiles(count, template, content)), message)

    def at(self, revision: str) -> Commit | None:
        """Return the commit of a branch, an id, or an unambiguous prefix of an id; else None."""
        if revision in self.branches:
            return self.commits[self.branches[revision]]
        found = [
            commit for id, commit in self.commits.items() if len(revision) >= 7 and id.startswith(revision)
        ]
        return found[0] if len(found) == 1 else None

    def _file(self, path: str, content: Content) -> File:
        is_lfs = path.endswith(self.lfs_suffixes) or bytes_of(content).size >= self.lfs_from_bytes
        return lfs_file(path, content) if is_lfs else plain_file(path, content)

    def _move(self, branch: str, tree: Tree, message: str) -> str:
        commit = Commit(tree, self.branches.get(branch), len(self.commits), message)
        self.commits[commit.id] = commit
        self.branches[branch] = commit.id
        return commit.id
