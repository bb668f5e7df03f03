"""Writes `registry.db.example`: invented conversions of llama, mistral, phi and qwen models.

    python -m llorch.registry.example [FILE]

Digests are of invented text; sizes, checks and times are plausible. Every run writes the same rows.
"""

from __future__ import annotations

import hashlib
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llorch.registry.digests import HashedFile, HashedTensor, tree1, weights1
from llorch.registry.records.records import (
    ArtifactRecord,
    CheckRecord,
    CheckStatus,
    EdgeRecord,
    FileRecord,
    FileRole,
    RunRecord,
    SourceRecord,
)
from llorch.registry.records.run_ids import uuid7
from llorch.registry.store import Registry

HOSTS = ("workstation", "build-3")
CONVERTED_WITH = {"llorch": "0.1.0", "numba": "0.67.1", "numpy": "2.4.0", "python": "3.11.7"}
VERIFIED_WITH = {**CONVERTED_WITH, "torch": "2.13.0"}


@dataclass(frozen=True, slots=True)
class Model:
    """An invented conversion. verified: the status of each check, None if there was no verification."""

    name: str
    file: str
    architecture: str
    quant: str
    dtype: str
    gguf_bytes: int
    shard_bytes: tuple[int, ...]
    licence: str
    started: datetime
    minutes: float
    host: str
    verified: tuple[tuple[str, CheckStatus, str, str], ...] | None


def day(month: int, day_: int, hour: int, minute: int) -> datetime:
    """Return a time in 2026, UTC."""
    return datetime(2026, month, day_, hour, minute, tzinfo=UTC)


PASSED: tuple[tuple[str, CheckStatus, str, str], ...] = (
    ("round_trip", "PASSED", "0", "0"),
    ("logits.kl", "PASSED", "3.1e-13", "1e-8"),
    ("logits.top1", "PASSED", "0", "0"),
)
WARNED: tuple[tuple[str, CheckStatus, str, str], ...] = (
    *PASSED[:1],
    ("logits.kl", "WARNED", "2.6e-8", "1e-8"),
    *PASSED[2:],
)
WITHOUT_SOURCE: tuple[tuple[str, CheckStatus, str, str], ...] = (
    ("round_trip", "SKIPPED", "", "0"),
    ("logits.kl", "SKIPPED", "", "1e-8"),
    ("folder.loads", "PASSED", "0", "0"),
)
WRONG: tuple[tuple[str, CheckStatus, str, str], ...] = (
    ("round_trip", "PASSED", "0", "0"),
    ("logits.kl", "FAILED", "0.8432", "1e-8"),
    ("logits.top1", "FAILED", "61", "0"),
)

# fmt: off
MODELS = (
    Model("llama-3.2-1b-instruct", "Llama-3.2-1B-Instruct-Q4_K_M.gguf", "llama", "Q4_K", "bfloat16",
          807_694_464, (2_471_645_608,), "llama3.2", day(9, 3, 8, 12), 0.9, HOSTS[0], PASSED),
    Model("mistral-7b-instruct-v0.3", "Mistral-7B-Instruct-v0.3.Q8_0.gguf", "llama", "Q8_0", "bfloat16",
          7_702_565_088, (4_949_453_792, 4_999_819_336, 4_546_807_800), "apache-2.0",
          day(9, 3, 14, 40), 6.2, HOSTS[1], WARNED),
    Model("phi-3-mini-4k-instruct", "Phi-3-mini-4k-instruct-fp16.gguf", "phi3", "F16", "float16",
          7_643_295_904, (4_972_489_328, 2_669_692_552), "mit", day(9, 10, 9, 5), 3.4, HOSTS[1], WITHOUT_SOURCE),
    Model("phi-3.5-mini-instruct", "Phi-3.5-mini-instruct-Q5_K_M.gguf", "phi3", "Q5_K", "bfloat16",
          2_815_275_232, (4_972_489_328, 2_669_692_552), "mit", day(10, 1, 16, 58), 3.1, HOSTS[0], WRONG),
    Model("qwen2.5-0.5b-instruct", "qwen2.5-0.5b-instruct-q4_0.gguf", "qwen2", "Q4_0", "bfloat16",
          428_730_208, (988_097_824,), "apache-2.0", day(10, 20, 7, 31), 0.4, HOSTS[0], PASSED),
    Model("qwen2.5-0.5b-instruct", "qwen2.5-0.5b-instruct-q4_0.gguf", "qwen2", "Q4_0", "float32",
          428_730_208, (1_976_163_472,), "apache-2.0", day(11, 2, 11, 0), 0.5, HOSTS[0], None),
)
# fmt: on


def main(path: Path) -> None:
    """Write the example to `path`, replacing an existing file."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "registry.db"
        fill(Registry(built))
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(built)) as database:
            database.execute("VACUUM INTO ?", (str(path),))  # one file, whatever journal this SQLite uses
    path.chmod(0o644)


def fill(registry: Registry) -> None:
    """Record all conversions, one failed run, and names."""
    for model in MODELS:
        converted = conversion(model)
        checked = [verification(model, converted)] if model.verified is not None else []
        made = converted.edges[1].artifact.digest
        at = model.started + timedelta(minutes=model.minutes)
        registry.record(converted, *checked, names={model.name: made}, at=at)
    registry.record(refused_run())
    qwen, again = MODELS[4], MODELS[5]
    registry.record(fetch(qwen), verification(qwen, conversion(qwen), level="full", after=timedelta(days=1)))
    registry.record(
        names={f"{again.name}@float32": conversion(again).edges[1].artifact.digest}, at=again.started
    )
    first = conversion(MODELS[0]).edges[1].artifact.digest
    registry.record(names={f"{MODELS[0].name}@prod": first}, at=day(9, 4, 10, 0))


def conversion(model: Model) -> RunRecord:
    """Return the run that converted a model."""
    label = f"{model.name}-{model.dtype}"
    finished = model.started + timedelta(minutes=model.minutes)
    return RunRecord(
        uid=uid(f"convert {label}", model.started),
        kind="convert",
        status="succeeded",
        started_at=model.started,
        finished_at=finished,
        host=model.host,
        params={"dtype": model.dtype, "max_shard_size": 5_000_000_000, "strict": False},
        tools=CONVERTED_WITH,
        edges=[
            EdgeRecord("input", source(model), model.file, f"/models/{model.file}"),
            EdgeRecord("output", folder(model), label, f"/models/{label}"),
        ],
        exit_code=0,
    )


def source(model: Model) -> ArtifactRecord:
    """Return the record of a model's GGUF file."""
    content = invent_digest(model.file)
    return ArtifactRecord(
        digest=f"sha256:{content}",
        kind="gguf",
        size_bytes=model.gguf_bytes,
        files=[FileRecord(model.file, content, model.gguf_bytes, "weights")],
        architecture=model.architecture,
        dtype=model.quant,
        facts={"license": model.licence},
    )


def folder(model: Model) -> ArtifactRecord:
    """Return the record of a model's safetensors folder."""
    count = len(model.shard_bytes)
    shards = [
        f"model-{n + 1:05}-of-{count:05}.safetensors" if count > 1 else "model.safetensors"
        for n in range(count)
    ]
    sizes = dict(zip(shards, model.shard_bytes, strict=True)) | {
        "config.json": 877,
        "tokenizer.json": 3_383_407,
    }
    roles: dict[str, FileRole] = {"config.json": "config", "tokenizer.json": "tokenizer"}
    files = [
        FileRecord(
            path, invent_digest(f"{model.name} {model.dtype} {path}"), size, roles.get(path, "weights")
        )
        for path, size in sorted(sizes.items())
    ]
    shape = (model.shard_bytes[0] // 4096, 2048)
    tensor = HashedTensor(
        "model.embed_tokens.weight", "BF16", shape, invent_digest(f"{model.name} {model.dtype}")
    )
    return ArtifactRecord(
        digest=tree1(HashedFile(file.path, file.sha256, file.size_bytes) for file in files),
        kind="hf-folder",
        size_bytes=sum(sizes.values()),
        files=files,
        weights_digest=weights1([tensor]),
        architecture=model.architecture,
        dtype=model.dtype,
        facts={"license": model.licence},
    )


def fetch(model: Model) -> RunRecord:
    """Return the run that downloaded a model's GGUF file."""
    started = model.started - timedelta(minutes=9)
    fetched = source(model)
    download = SourceRecord(
        kind="hub",
        repository=f"invented/{model.name}-GGUF",
        path=model.file,
        artifact=fetched.digest,
        revision_requested="main",
        revision_resolved=invent_digest(f"commit of {model.file}")[:40],
        etag=fetched.digest.removeprefix("sha256:"),
        etag_kind="sha256",
        expected_digest=fetched.digest,
        observed_digest=fetched.digest,
        observed_size=fetched.size_bytes,
    )
    return RunRecord(
        uid=uid(f"fetch {model.file}", started),
        kind="fetch",
        status="succeeded",
        started_at=started,
        finished_at=started + timedelta(minutes=2),
        host=model.host,
        params={"revision": "main"},
        tools={"huggingface_hub": "2.4.0", "llorch": "0.1.0"},
        edges=[EdgeRecord("output", fetched, model.file, f"/models/{model.file}")],
        sources=[download],
        exit_code=0,
    )


def verification(
    model: Model, converted: RunRecord, *, level: str = "quick", after: timedelta = timedelta(seconds=1)
) -> RunRecord:
    """Return the run that verified a folder against its source. after: time since the conversion."""
    source_edge, made = converted.edges
    started = model.started + timedelta(minutes=model.minutes) + after
    checks = [
        CheckRecord(made.artifact.digest, name, status, value or None, threshold, "<=")
        for name, status, value, threshold in model.verified or ()
    ]
    return RunRecord(
        uid=uid(f"verify {level} {made.label}", started),
        kind="verify",
        status="succeeded",
        started_at=started,
        finished_at=started + timedelta(seconds=38),
        host=model.host,
        params={"device": "cpu", "level": level},
        tools=VERIFIED_WITH,
        edges=[
            EdgeRecord("input", made.artifact, made.label, made.path),
            EdgeRecord("reference", source_edge.artifact, source_edge.label, source_edge.path),
        ],
        checks=checks,
        exit_code=1 if any(check.status == "FAILED" for check in checks) else 0,
    )


def refused_run() -> RunRecord:
    """Return a run that failed and has no output."""
    started = day(10, 14, 13, 22)
    file = "Qwen2.5-7B-Instruct-Q6_K.gguf"
    content = invent_digest(file)
    size = 4_194_304_000
    cut_short = ArtifactRecord(
        f"sha256:{content}",
        "gguf",
        size,
        [FileRecord(file, content, size, "weights")],
        architecture="qwen2",
        dtype="Q6_K",
    )
    return RunRecord(
        uid=uid("convert cut short", started),
        kind="convert",
        status="failed",
        started_at=started,
        finished_at=started + timedelta(seconds=2),
        host=HOSTS[0],
        params={"dtype": "auto", "max_shard_size": 5_000_000_000, "strict": False},
        tools=CONVERTED_WITH,
        edges=[EdgeRecord("input", cut_short, file, f"/models/{file}")],
        error="tensor 'blk.17.ffn_down.weight' ends at byte 4234706944, the file at 4194304000: it is cut short",
        exit_code=3,
    )


def invent_digest(text: str) -> str:
    """Return the SHA-256 of invented content for `text`."""
    return hashlib.sha256(f"invented: {text}".encode()).hexdigest()


def uid(text: str, when: datetime) -> str:
    """Return a run id that depends only on the arguments."""
    return uuid7(int(when.timestamp() * 1000), int(invent_digest(text)[:18], 16) & ((1 << 74) - 1))


if __name__ == "__main__":
    default = Path(__file__).resolve().parent.parent / "registry.db.example"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
