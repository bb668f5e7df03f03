"""Invented records of artifacts and runs, for tests to add to the registry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from llorch.registry.records.records import (
    ArtifactRecord,
    CheckRecord,
    CheckStatus,
    EdgeRecord,
    FileRecord,
    Json,
    RunRecord,
)
from llorch.registry.records.run_ids import uuid7

START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def sha256(text: str) -> str:
    """Return 64 hex digits as a file's digest."""
    return hashlib.sha256(text.encode()).hexdigest()


def uid(text: str, at: datetime = START) -> str:
    """Return a run's id that is the same in every test."""
    return uuid7(int(at.timestamp() * 1000), int(sha256(text)[:18], 16) & ((1 << 74) - 1))


def gguf(name: str = "tiny.gguf", size: int = 1000) -> ArtifactRecord:
    """A file."""
    files = [FileRecord(name, sha256(name), size, "weights")]
    return ArtifactRecord(f"sha256:{sha256(name)}", "gguf", size, files, architecture="llama", dtype="Q4_1")


def folder(name: str = "tiny", facts: Mapping[str, Json] | None = None) -> ArtifactRecord:
    """A folder of a model's files."""
    files = [
        FileRecord("config.json", sha256(f"{name} config"), 20, "config"),
        FileRecord("model.safetensors", sha256(f"{name} weights"), 2000, "weights"),
    ]
    return ArtifactRecord(
        digest=f"tree1:{sha256(name)}",
        kind="hf-folder",
        size_bytes=2020,
        files=files,
        weights_digest=f"weights1:{sha256(f'{name} tensors')}",
        architecture="llama",
        dtype="bfloat16",
        facts=facts or {},
    )


def conversion(
    name: str = "tiny", *, at: datetime = START, source: str | None = None, host: str = "here"
) -> RunRecord:
    """A run that made the folder `name` of a file of that name, ten seconds long."""
    source = source or f"{name}.gguf"
    return RunRecord(
        uid=uid(f"convert {name}", at),
        kind="convert",
        status="succeeded",
        started_at=at,
        finished_at=at + timedelta(seconds=10),
        host=host,
        params={"dtype": "auto", "max_shard_size": 5_000_000_000},
        tools={"llorch": "0.1.0", "python": "3.11.7"},
        edges=[
            EdgeRecord("input", gguf(source), source, f"/models/{source}"),
            EdgeRecord("output", folder(name), name, f"/models/{name}"),
        ],
        exit_code=0,
    )


def verification(name: str = "tiny", *statuses: CheckStatus, at: datetime = START) -> RunRecord:
    """A run that checked the folder `name`, one check for each status."""
    made = folder(name)
    return RunRecord(
        uid=uid(f"verify {name}", at),
        kind="verify",
        status="succeeded",
        started_at=at,
        host="here",
        edges=[EdgeRecord("input", made, name)],
        checks=[CheckRecord(made.digest, f"check.{n}", status) for n, status in enumerate(statuses)],
    )
