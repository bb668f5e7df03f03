"""Ids are the same as git's, and a tree holds what was committed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.hub.repository import (
    HOSTILE_NAMES,
    DiskFile,
    File,
    Folder,
    NumberedFiles,
    Repository,
    StoredTree,
    git_id,
    lfs_pointer,
    plain_file,
)

FILES = {
    "config.json": b'{"model_type": "llama"}\n',
    "a.txt": b"after the folder a, before a-b",
    "a/deep/er.txt": b"three",
    "a/x.txt": b"",
    "a-b": b"a dash sorts before a slash",
    "model.gguf": bytes(range(256)) * 10,
}


def git(folder: Path, *arguments: str, date: str = "") -> str:
    """Run git; return its output."""
    who = {"NAME": "tests", "EMAIL": "tests@localhost", "DATE": date}
    own = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in who.items()}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(folder), **own},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()


def test_ids_of_files_folders_and_commits_are_gits(tmp_path: Path) -> None:
    repository = Repository("owner/model")
    made = [
        repository.commit(FILES),
        repository.commit({"a/x.txt": None, "more/y.txt": b"y"}, message="Change"),
    ]
    git(tmp_path, "init", "-q")
    theirs = []
    for commit in (repository.commits[id] for id in made):
        git(tmp_path, "rm", "-rfq", "--ignore-unmatch", ".")
        for entry in commit.tree.entries(recursive=True):
            if isinstance(entry, File):
                data = entry.data.read(0, entry.data.size)
                path = tmp_path / entry.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(
                    data if entry.sha256 is None else lfs_pointer(hashlib.sha256(data).hexdigest(), len(data))
                )
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", commit.message, date=f"{commit.at} +0000")
        theirs.append(git(tmp_path, "rev-parse", "HEAD"))
        rows = git(tmp_path, "ls-tree", "-rt", "HEAD").splitlines()
        listed = [(row.split("\t")[1], row.split("\t")[0].split(" ")[2]) for row in rows]
        ours = [
            (entry.path, entry.blob_id if isinstance(entry, File) else entry.tree_id)
            for entry in commit.tree.entries(recursive=True)
        ]
        assert ours == listed
    assert made == theirs


def test_a_branch_moves_and_old_commits_stay() -> None:
    repository = Repository("owner/model")
    first = repository.commit({"a": b"1", "b": b"1"})
    second = repository.commit({"b": b"2", "a": None})
    other = repository.commit({"c": b"3"}, branch="refs/pr/1")
    at = {
        revision: repository.at(revision)
        for revision in ("main", first, second, "refs/pr/1", first[:9], "gone")
    }
    assert {revision: commit.id if commit else None for revision, commit in at.items()} == {
        "main": second, first: first, second: second, "refs/pr/1": other, first[:9]: first, "gone": None
    }  # fmt: skip
    names = {id: [entry.path for entry in commit.tree.entries()] for id, commit in repository.commits.items()}
    assert names == {first: ["a", "b"], second: ["b"], other: ["c"]}


def test_lfs_is_by_suffix_or_size_and_can_be_set() -> None:
    content = b"x" * 100
    names = ["a.gguf", "b.txt"]
    told = {
        (suffixes, from_bytes): [
            entry.path
            for entry in tree.entries()
            if isinstance(entry, File) and entry.sha256 == hashlib.sha256(content).hexdigest()
        ]
        for suffixes, from_bytes in (((".gguf",), 1000), ((".txt",), 1000), ((), 100), ((), 101))
        for repository in [Repository("o/n", lfs_suffixes=suffixes, lfs_from_bytes=from_bytes)]
        for tree in [repository.commits[repository.commit(dict.fromkeys(names, content))].tree]
    }
    assert told == {
        ((".gguf",), 1000): ["a.gguf"], ((".txt",), 1000): ["b.txt"], ((), 100): names, ((), 101): []
    }  # fmt: skip


def test_a_declared_digest_spares_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(4 << 30)
    repository = Repository("o/n")
    commit = repository.commits[repository.commit({"model.gguf": DiskFile(path, sha256="ab" * 32)})]
    (entry,) = commit.tree.entries()
    assert isinstance(entry, File)
    assert (entry.size, entry.sha256, entry.etag) == (4 << 30, "ab" * 32, f'"{"ab" * 32}"')
    pointer = lfs_pointer("ab" * 32, 4 << 30)
    assert (entry.blob_id, entry.pointer_size) == (git_id("blob", pointer), len(pointer))


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_hostile_name_is_listed_as_it_is(name: str) -> None:
    tree = StoredTree({path: plain_file(path, b"x") for path in (name, "good.txt")})
    files = [entry.path for entry in tree.entries(recursive=True) if isinstance(entry, File)]
    assert sorted(files) == sorted([name, "good.txt"])
    assert tree.file(name) is not None


def test_a_name_may_be_a_file_and_a_folder() -> None:
    tree = StoredTree({path: plain_file(path, b"x") for path in ("a", "a/b")})
    kinds = [(type(entry), entry.path) for entry in tree.entries(recursive=True)]
    assert kinds == [(File, "a"), (Folder, "a"), (File, "a/b")]


def test_numbered_files_are_found_by_number_and_by_name() -> None:
    repository = Repository("o/n")
    tree = repository.commits[repository.commit_numbered(1_000_000, "part-{:07}.txt", b"xyz")].tree
    assert isinstance(tree.entries(), NumberedFiles)
    assert len(tree.entries()) == 1_000_000
    assert [entry.path for entry in tree.entries()[999_998:]] == ["part-0999998.txt", "part-0999999.txt"]
    found = {
        name: tree.file(name) for name in ("part-0000007.txt", "part-1000000.txt", "part-7.txt", "part-x.txt")
    }
    assert [name for name, file in found.items() if file] == ["part-0000007.txt"]
    assert found["part-0000007.txt"] == tree.entries()[7]
