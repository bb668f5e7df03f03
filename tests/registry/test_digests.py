"""Digests: the design's vectors, and the changes that each kind survives."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.registry.digests import (
    HashedFile,
    HashedTensor,
    canonical_json,
    digest_of,
    hashed_files,
    tree1,
    weights1,
)
from llorch.registry.errors import RefusedRecord

EMPTY = hashlib.sha256(b"").hexdigest()


def test_tree1_of_two_files_is_the_vector_of_the_design() -> None:
    files = [HashedFile("a/é.txt", EMPTY, 0), HashedFile("config.json", hashlib.sha256(b"{}").hexdigest(), 2)]
    assert tree1(files) == "tree1:316563b0ec01705298006ade3a832abe4771a5fe1263e4b31647f906ac909bb3"


def test_weights1_of_two_tensors_is_the_vector_of_the_design() -> None:
    tensors = [
        HashedTensor("b", "BF16", (2, 3), hashlib.sha256(bytes(12)).hexdigest()),
        HashedTensor("a", "F32", (), hashlib.sha256(bytes(4)).hexdigest()),
    ]
    assert weights1(tensors) == "weights1:61a7e00b9897bc9f4ff841b7ca2cd11b37444cca6ecefa6331e8bbbb1a426b8a"


def made_folder(root: Path) -> Path:
    (root / "a").mkdir(parents=True)
    (root / "a" / "é.txt").touch()
    (root / "config.json").write_text("{}")
    return root


def test_a_folder_on_disk_has_the_digest_of_its_list(tmp_path: Path) -> None:
    digest = digest_of(made_folder(tmp_path / "model"))
    assert digest == "tree1:316563b0ec01705298006ade3a832abe4771a5fe1263e4b31647f906ac909bb3"


def test_a_tree_survives_copying_links_times_modes_and_records_beside_it(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "model")
    before = digest_of(folder)
    snapshot = tmp_path / "snapshot"
    (snapshot / "a").mkdir(parents=True)
    (snapshot / "a" / "é.txt").symlink_to(folder / "a" / "é.txt")
    (snapshot / "config.json").symlink_to(folder / "config.json")
    os.utime(folder / "config.json", (1, 1))
    (folder / "config.json").chmod(0o600)
    (folder / "conversion.json").write_text('{"times": 1}')
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("x")
    assert digest_of(folder) == digest_of(snapshot) == before


def test_a_record_is_excluded_at_the_top_only_and_a_card_is_not(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "model")
    before = digest_of(folder)
    (folder / "a" / "conversion.json").write_text("{}")
    below = digest_of(folder)
    (folder / "README.md").write_text("a card")
    assert len({before, below, digest_of(folder)}) == 3


def test_records_are_hashed_though_no_digest_holds_them(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "model")
    (folder / "conversion.json").write_text("{}")
    assert "conversion.json" in {file.path for file in hashed_files(folder)}


def test_a_file_has_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    content = random.Random(0).randbytes((1 << 20) + 17)
    (tmp_path / "model.gguf").write_bytes(content)
    assert digest_of(tmp_path / "model.gguf") == f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("kind", ["dangling", "folder", "pipe"])
def test_what_is_no_regular_file_is_refused_or_missing(tmp_path: Path, kind: str) -> None:
    folder = made_folder(tmp_path / "model")
    if kind == "pipe":
        os.mkfifo(folder / "pipe")
    else:
        (folder / "link").symlink_to(tmp_path if kind == "folder" else tmp_path / "nothing")
    with pytest.raises((RefusedRecord, FileNotFoundError)):
        digest_of(folder)


@pytest.mark.parametrize("name", [b"bad\xff", b"line\nend", b"bell\x07"])
def test_a_name_that_is_not_plain_utf8_is_refused(tmp_path: Path, name: bytes) -> None:
    folder = made_folder(tmp_path / "model")
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).touch()
    with pytest.raises(RefusedRecord):
        digest_of(folder)


@pytest.mark.parametrize("path", ["", "/a", "a//b", "./a", "a/../b", "a/"])
def test_a_path_that_leaves_the_folder_is_refused(path: str) -> None:
    with pytest.raises(RefusedRecord):
        tree1([HashedFile(path, EMPTY, 0)])


def test_an_empty_folder_a_path_twice_and_a_tensor_twice_have_no_digest() -> None:
    tensor = HashedTensor("a", "F32", (), EMPTY)
    for twice in ([], [HashedFile("a", EMPTY, 0), HashedFile("a", EMPTY, 1)]):
        with pytest.raises(RefusedRecord):
            tree1(twice)
    for tensors in ([], [tensor, tensor]):
        with pytest.raises(RefusedRecord):
            weights1(tensors)


hashes = st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}")
files = st.builds(
    HashedFile, st.text(st.characters(categories=["L", "N"]), min_size=1), hashes, st.integers(0, 2**53 - 1)
)


@given(st.lists(files, min_size=1, unique_by=lambda file: file.path), st.randoms(use_true_random=False))
def test_the_order_of_the_files_does_not_matter(listed: list[HashedFile], chance: random.Random) -> None:
    shuffled = chance.sample(listed, len(listed))
    assert tree1(shuffled) == tree1(listed)


@given(st.lists(files, min_size=1, unique_by=lambda file: file.path), st.data())
def test_any_other_path_size_or_content_is_another_tree(
    listed: list[HashedFile], data: st.DataObject
) -> None:
    file = data.draw(st.sampled_from(listed))
    other = data.draw(files.filter(lambda one: one != file and one.path not in {f.path for f in listed}))
    assert tree1([other if one is file else one for one in listed]) != tree1(listed)


@given(
    st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5)
)
def test_canonical_json_is_read_back_as_it_was(document: object) -> None:
    import json

    try:
        told = canonical_json(document)
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8
        return
    assert json.loads(told) == document
    assert b"\n" not in told


def test_progress_counts_bytes_within_a_file_and_over_all_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llorch.registry.digests.CHUNK", 10)
    (tmp_path / "a").write_bytes(b"0" * 25)
    (tmp_path / "b").write_bytes(b"1" * 5)
    told: list[tuple[int, int]] = []
    hashed_files(tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(10, 30), (20, 30), (25, 30), (30, 30)]
