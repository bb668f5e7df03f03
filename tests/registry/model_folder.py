"""A small folder with safetensors files on disk, and its record."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

from llorch.registry.digests import hashed_files, is_excluded, tree1
from llorch.registry.query.tensor_ranges import hashed_tensors
from llorch.registry.records.records import (
    ArtifactRecord,
    EdgeRecord,
    FileRecord,
    RunRecord,
    digest_of_tensors,
)
from tests.registry.invented import START, uid


def write_safetensors(path: Path, tensors: Mapping[str, bytes]) -> None:
    """Write a file of one-dimensional U8 tensors, in the given order."""
    header, at = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(tensors.values()))


def write_folder(folder: Path, *, tensors: int = 6, size: int = 200, shards: int = 2, seed: int = 0) -> Path:
    """Write a config and shards of random tensors, the same for any number of shards."""
    chance = random.Random(seed)
    named = {f"layers.{n}.weight": chance.randbytes(size) for n in range(tensors)}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    names = list(named)
    for shard in range(shards):
        held = {name: named[name] for name in names[shard::shards]}
        write_safetensors(folder / f"model-{shard + 1:05}-of-{shards:05}.safetensors", held)
    return folder


def adopted(folder: Path, host: str = "here") -> RunRecord:
    """Return a run that records a folder in its current state."""
    files = hashed_files(folder)
    tensors = list(hashed_tensors(folder))
    artifact = ArtifactRecord(
        digest=tree1(files),
        kind="hf-folder",
        size_bytes=sum(file.size_bytes for file in files if not is_excluded(file.path)),
        files=[FileRecord(file.path, file.sha256, file.size_bytes, "weights") for file in files],
        weights_digest=digest_of_tensors(tensors),
        tensors=tensors,
    )
    return RunRecord(
        uid=uid(f"adopt {folder}"),
        kind="convert",
        status="succeeded",
        started_at=START,
        host=host,
        edges=[EdgeRecord("output", artifact, folder.name, str(folder))],
    )
