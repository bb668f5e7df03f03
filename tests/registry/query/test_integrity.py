"""The files on disk are compared with the records: every damage is found, and named by file and tensor."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llorch.registry import Registry
from llorch.registry.errors import RefusedRecord, UnknownReference
from llorch.registry.query.integrity import Damage, Integrity
from llorch.registry.query.tensor_ranges import tensor_ranges
from llorch.registry.records.answers import ArtifactAnswer
from llorch.registry.records.records import ArtifactRecord, EdgeRecord, FileRecord
from tests.registry.invented import START, conversion, gguf, sha256
from tests.registry.model_folder import adopted, write_folder, write_safetensors


@pytest.fixture
def model(registry: Registry, tmp_path: Path) -> Path:
    """A recorded folder of two shards."""
    folder = write_folder(tmp_path / "model")
    registry.record(adopted(folder))
    return folder


def only(found: Sequence[Integrity]) -> Integrity:
    [one] = found
    return one


def test_a_whole_folder_is_whole_and_its_place_remembers_when(registry: Registry, model: Path) -> None:
    found = only(registry.verify("here"))
    assert (found.is_intact, found.files, found.path) == (True, 3, str(model))
    assert found.to_json()["verified"] is True
    answer = registry.show(found.digest)
    assert isinstance(answer, ArtifactAnswer)
    assert answer.places[0].verified_at is not None
    assert answer.places[0].verified_at > START


def test_a_quick_look_is_no_proof(registry: Registry, model: Path) -> None:
    flip(model / "config.json", 8 * 3)
    found = only(registry.verify("here", level="quick"))
    assert (found.is_intact, found.to_json()["verified"]) == (True, False)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_every_flipped_bit_is_found_in_its_file_and_tensor(registry: Registry, model: Path) -> None:
    flips(registry, model, 40)


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_found_in_their_file_and_tensor(registry: Registry, model: Path) -> None:
    flips(registry, model, 1000)


def flips(registry: Registry, model: Path, times: int) -> None:
    chance = random.Random(0)
    paths = sorted(model.iterdir())
    held = {path: tensor_ranges(path) for path in paths if path.suffix == ".safetensors"}
    for _ in range(times):
        path = chance.choice(paths)
        bit = chance.randrange(8 * path.stat().st_size)
        flip(path, bit)
        found = only(registry.verify("here"))
        flip(path, bit)
        [damage] = found.damages
        hit = [one.name for one in held.get(path, []) if one.start <= bit // 8 < one.end]
        assert (damage.file, damage.what, damage.tensor) == (path.name, "content", hit[0] if hit else None)
        if hit:
            assert damage.start is not None
            assert damage.end is not None
            assert damage.start <= bit // 8 < damage.end
    assert only(registry.verify("here")).is_intact


def test_a_missing_a_short_and_an_added_file_are_named(registry: Registry, model: Path) -> None:
    (model / "config.json").unlink()
    shard = model / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    (model / "more.bin").touch()
    (model / "conversion.json").touch()
    found = only(registry.verify("here"))
    assert [(damage.file, damage.what) for damage in found.damages] == [
        ("config.json", "missing"),
        ("model-00002-of-00002.safetensors", "content"),
        ("more.bin", "added"),
    ]
    assert found.damages[1].tensor == "layers.5.weight"
    quick = only(registry.verify("here", level="quick"))
    assert {damage.what for damage in quick.damages} == {"missing", "size", "added"}


def test_a_folder_that_is_gone_is_said_to_be_once(registry: Registry, model: Path) -> None:
    model.rename(model.with_name("elsewhere"))
    found = only(registry.verify("here"))
    assert found.is_gone
    assert registry.verify("here") == []
    answer = registry.show(found.digest)
    assert isinstance(answer, ArtifactAnswer)
    assert answer.places == []
    model.with_name("elsewhere").rename(model)
    assert only(registry.verify("here", found.digest)).is_intact
    assert len(registry.verify("here")) == 1


def test_a_file_is_looked_for_where_it_was_seen(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "renamed.gguf"
    path.write_bytes(b"tiny.gguf")
    source = gguf("tiny.gguf", 9)
    registry.record(replace(conversion(), edges=[EdgeRecord("input", source, "tiny.gguf", str(path))]))
    assert only(registry.verify("here", source.digest)).is_intact
    path.write_bytes(b"tiny.ggug")
    assert only(registry.verify("here", source.digest)).damages == [
        Damage("tiny.gguf", "content", detail="other bytes than recorded")
    ]


def test_a_file_that_was_seen_under_two_names_is_one_file_in_two_places(
    registry: Registry, tmp_path: Path
) -> None:
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).write_bytes(b"tiny.gguf")
        seen = replace(
            conversion(name), edges=[EdgeRecord("input", gguf_named(name), name, str(tmp_path / name))]
        )
        registry.record(seen)
    assert [(one.path, one.is_intact, one.files) for one in registry.verify("here")] == [
        (str(tmp_path / "a.gguf"), True, 1), (str(tmp_path / "b.gguf"), True, 1)
    ]  # fmt: skip
    answer = registry.show(gguf_named("b.gguf").digest)
    assert isinstance(answer, ArtifactAnswer)
    assert [file.path for file in answer.files] == ["a.gguf"]


def gguf_named(name: str) -> ArtifactRecord:
    """Return the record of `tiny.gguf`'s bytes under another name."""
    return replace(gguf(), size_bytes=9, files=[replace(gguf().files[0], path=name, size_bytes=9)])


def test_any_recorded_version_of_a_record_will_do(registry: Registry, model: Path) -> None:
    (model / "conversion.json").write_text("one")
    told = adopted(model)
    made = told.edges[0].artifact
    for version in ("one", "two"):
        record = FileRecord("conversion.json", sha256(version), 3, "record")
        made = replace(made, files=[*[file for file in made.files if file.path != "conversion.json"], record])
        edges = [EdgeRecord("output", made, "model", str(model))]
        registry.record(replace(told, uid=conversion(version).uid, edges=edges))
    assert only(registry.verify("here")).is_intact
    (model / "conversion.json").write_text("six")
    assert [damage.file for damage in only(registry.verify("here")).damages] == ["conversion.json"]


def test_what_was_never_seen_on_this_host_cannot_be_verified(registry: Registry, model: Path) -> None:
    digest = only(registry.verify("here")).digest
    assert registry.verify("there") == []
    with pytest.raises(UnknownReference, match="never seen on this host"):
        registry.verify("there", digest)


HEADER = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        b"\xff" * 8,
        (3).to_bytes(8, "little") + b"[]}",
        (2).to_bytes(8, "little") + b"[]",
        (2**40).to_bytes(8, "little") + b"{}",
        *(
            len(text).to_bytes(8, "little") + text
            for text in (
                json.dumps({"a": {**HEADER["a"], **change}}).encode()
                for change in (
                    {"data_offsets": [0, 9]},
                    {"data_offsets": [1, 0]},
                    {"data_offsets": 1},
                    {"shape": 1},
                )
            )
        ),
        len(b"[" * 10000).to_bytes(8, "little") + b"[" * 10000,
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(RefusedRecord, match=r"header|tensor ends"):
        tensor_ranges(tmp_path / "model.safetensors")


def test_ranges_are_those_that_the_safetensors_library_wrote(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    import numpy as np

    tensors: dict[str, Any] = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.arange(5, dtype=np.int8),
    }
    numpy.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    content = (tmp_path / "model.safetensors").read_bytes()
    found = {one.name: one for one in tensor_ranges(tmp_path / "model.safetensors")}
    assert {name: content[one.start : one.end] for name, one in found.items()} == {
        name: array.tobytes() for name, array in tensors.items()
    }
    assert (found["b"].shape, found["b"].dtype) == ((2, 3), "F32")


def test_an_empty_tensor_has_a_range(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"a": b"", "b": b"x"})
    assert [(one.name, one.end - one.start) for one in tensor_ranges(tmp_path / "model.safetensors")] == [
        ("a", 0), ("b", 1)
    ]  # fmt: skip
