"""A file or folder on disk is identified by its bytes, as a part, by its weights, by its tensors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from llorch.registry import Registry
from llorch.registry.records.records import EdgeRecord, SourceRecord
from tests.registry.invented import conversion, gguf
from tests.registry.model_folder import adopted, write_folder, write_safetensors


@pytest.fixture
def model(registry: Registry, tmp_path: Path) -> Path:
    """A recorded folder of two shards, made from a downloaded file."""
    folder = write_folder(tmp_path / "model")
    source = gguf("tiny.gguf", 9)
    fetched = replace(
        conversion("fetch"), kind="fetch", edges=[EdgeRecord("output", source, "tiny.gguf")],
        sources=[SourceRecord("hub", "owner/name", "tiny.gguf", source.digest, "main", "a" * 40)],
    )  # fmt: skip
    made = adopted(folder)
    made = replace(made, edges=[*made.edges, EdgeRecord("input", source, "tiny.gguf")])
    registry.record(fetched, made, names={"tiny": made.edges[0].artifact.digest})
    return folder


def test_a_copy_is_what_it_is_a_copy_of_and_comes_from_where_that_came_from(
    registry: Registry, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "copy")
    found = registry.whence(tmp_path / "copy")
    [origin] = found.origins
    assert (found.known, origin.names, origin.digest) == ("artifact", ["tiny@latest"], found.digest)
    assert (origin.made_from, origin.made_by) == ([gguf("tiny.gguf", 9).digest], adopted(model).uid)
    assert [(one.repository, one.path, one.revision_resolved) for one in origin.sources] == [
        ("owner/name", "tiny.gguf", "a" * 40)
    ]


def test_a_renamed_file_is_told_by_its_bytes(registry: Registry, model: Path, tmp_path: Path) -> None:
    (tmp_path / "unknown.bin").write_bytes(b"tiny.gguf")
    found = registry.whence(tmp_path / "unknown.bin")
    assert (found.known, found.origins[0].digest) == ("artifact", gguf("tiny.gguf", 9).digest)


def test_a_shard_alone_finds_its_folder(registry: Registry, model: Path, tmp_path: Path) -> None:
    shutil.copy(model / "model-00002-of-00002.safetensors", tmp_path / "lost.safetensors")
    found = registry.whence(tmp_path / "lost.safetensors")
    assert (found.known, found.origins[0].file) == ("file", "model-00002-of-00002.safetensors")
    assert found.origins[0].names == ["tiny@latest"]


def test_other_shards_and_another_card_are_the_same_weights(
    registry: Registry, model: Path, tmp_path: Path
) -> None:
    other = write_folder(tmp_path / "other", shards=3)
    (other / "README.md").write_text("a card")
    found = registry.whence(other)
    assert (found.known, found.origins[0].names) == ("weights", ["tiny@latest"])


def test_a_changed_tensor_is_named(registry: Registry, model: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", tensors=5, shards=1)
    write_safetensors(other / "extra.safetensors", {"lm_head.weight": b"new"})
    found = registry.whence(other)
    assert found.known == "tensors"
    assert (found.origins[0].equal, found.origins[0].of) == (5, 6)
    assert found.origins[0].differing == ["lm_head.weight"]


def test_what_nothing_is_like_is_unknown(registry: Registry, model: Path, tmp_path: Path) -> None:
    found = registry.whence(write_folder(tmp_path / "other", seed=1))
    assert (found.known, found.origins) == (None, [])
    (other := tmp_path / "damaged").mkdir()
    (other / "model.safetensors").write_bytes(b"no header")
    assert registry.whence(other).known is None


def test_without_a_registry_everything_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    found = Registry(tmp_path / "registry.db").whence(tmp_path / "a")
    assert (found.known, found.origins) == (None, [])
    assert not (tmp_path / "registry.db").exists()
