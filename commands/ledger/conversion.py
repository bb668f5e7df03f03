"""Registry records of a conversion and of its verification.

A conversion's record is built from its conversion.json alone, so that a folder whose recording failed, or that
was copied from another machine, gets the same record later.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llorch.base.record_files import PROVENANCE, RECORD
from llorch.commands.cli import Failure
from llorch.registry import (
    ArtifactRecord,
    CheckRecord,
    EdgeRecord,
    FileRecord,
    HashedFile,
    RunRecord,
    TensorRecord,
    time_of,
    tree1,
    uuid7,
)

if TYPE_CHECKING:
    from llorch.commands.ledger.run import TrackedRun
    from llorch.verification import Report, Result

# Fields of the source's model card that are recorded as facts, for exports.
CARD_FACTS = ("license", "license_name", "license_link", "base_model", "language", "datasets")
UNEQUAL = ("FAILED", "ERROR")  # statuses of a comparison of two files that did not find them equal


def conversion_run(folder: Path, document: Mapping[str, Any]) -> RunRecord:
    """Return the run that conversion.json (`document`) describes; the same document always gives the same run.

    If it has no run id (written by an older version, or without a registry), the id is derived from its SHA-256.
    """
    started = datetime.fromisoformat(document["times"]["started"])
    uid = document.get("run")
    if uid is not None and not started.microsecond and "." not in document["times"]["started"]:
        started = time_of(uid)  # until version 0.2 only the run's id had the start to the millisecond
    if uid is None:
        digest = hashlib.sha256((folder / RECORD).read_bytes()).digest()
        uid = uuid7(int(started.timestamp() * 1000), int.from_bytes(digest[:10]) >> 6)
    return RunRecord(
        uid=uid,
        kind="convert",
        status="succeeded",
        started_at=started,
        finished_at=datetime.fromisoformat(document["times"]["finished"]),
        host=socket.gethostname(),
        params=document["options"],
        tools=document["tools"],
        edges=[source_edge(folder, document), folder_edge(folder, document)],
        exit_code=0,
    )


def source_edge(folder: Path, document: Mapping[str, Any]) -> EdgeRecord:
    """Return the run's input: the GGUF file, or the parts of a split one."""
    rows: Sequence[Mapping[str, Any]] = document["sources"]
    files = [FileRecord(row["name"], row["sha256"], row["size"], "weights") for row in rows]
    split = len(files) > 1
    types = document["quantization"]["types"]
    artifact = ArtifactRecord(
        digest=tree1(HashedFile(f.path, f.sha256, f.size_bytes) for f in files)
        if split
        else f"sha256:{files[0].sha256}",
        kind="gguf-split" if split else "gguf",
        size_bytes=sum(file.size_bytes for file in files),
        files=files,
        architecture=document["architecture"],
        dtype=next(iter(types), None),
        facts={
            "bits_per_weight": document["quantization"]["bits_per_weight"],
            **{name: document["card"][name] for name in CARD_FACTS if name in document.get("card", {})},
            **({"metadata": document["source_metadata"]} if "source_metadata" in document else {}),
        },
        weights_digest=document.get("source_weights"),  # until version 0.2 a source's tensors were not hashed
        tensors=[tensor_record(row) for row in document.get("source_tensors", ())],
    )
    return EdgeRecord("input", artifact, files[0].path, os.path.normpath(folder / rows[0]["path"]))


def folder_edge(folder: Path, document: Mapping[str, Any]) -> EdgeRecord:
    """Return the run's output: the folder, including its record files."""
    files = [FileRecord(row["path"], row["sha256"], row["size"], row["role"]) for row in document["files"]]
    for name in (RECORD, PROVENANCE):
        content = (folder / name).read_bytes()
        files.append(FileRecord(name, hashlib.sha256(content).hexdigest(), len(content), "record"))
    artifact = ArtifactRecord(
        digest=document["tree"],
        kind="hf-folder",
        size_bytes=sum(row["size"] for row in document["files"]),
        files=files,
        weights_digest=document["weights"],
        architecture=document["architecture"],
        dtype=document["dtype"],
        tensors=[tensor_record(row) for row in document["tensors"]],
    )
    return EdgeRecord("output", artifact, folder.name, os.fspath(folder))


def tensor_record(row: Mapping[str, Any]) -> TensorRecord:
    """Return the record of a tensor from its row in conversion.json, of the source or of the folder."""
    return TensorRecord(
        row["name"],
        row["dtype"],
        tuple(row["shape"]),
        row["file"],
        row["offset"],
        row["size"],
        row["sha256"],
    )


def verification_run(converted: RunRecord, report: Report | Failure, run: TrackedRun) -> RunRecord:
    """Return the run that verified the output of the run `converted`; a failed run if `report` is a Failure.

    The source is an edge of it only if the check "source.digest" did not find it to be another file.
    """
    source, made = converted.edges
    edges = [EdgeRecord("input", made.artifact, made.label, made.path)]
    if isinstance(report, Failure):
        return RunRecord(
            run.id, "verify", "failed", run.started, datetime.now(UTC), converted.host,
            edges=edges, error=report.message, exit_code=report.exit_code,
        )  # fmt: skip
    another = any(result.name == "source.digest" and result.status in UNEQUAL for result in report.results)
    if report.against is not None and not another:
        edges.append(EdgeRecord("reference", source.artifact, source.label))
    return RunRecord(
        uid=run.id,
        kind="verify",
        status="succeeded",
        started_at=run.started,
        finished_at=datetime.fromisoformat(report.finished),
        host=converted.host,
        params={"level": report.level, "device": report.device},
        tools=report.tools,
        edges=edges,
        checks=[
            check_record(made.artifact.digest, result)
            for result in report.results
            if not (result.optional and result.status == "SKIPPED")  # a verification is complete without it
        ],
        exit_code=1 if report.outcome == "FAILED" else 0,
    )


def check_record(artifact: str, result: Result) -> CheckRecord:
    """Return the record of one check; numbers as their repr, which parses back to the same float."""
    return CheckRecord(
        artifact,
        result.name,
        result.status.value,
        value=None if result.value is None else repr(result.value),
        threshold=repr(result.at_most),
        op="<=",
        unit=result.unit,
        detail={"where": result.where, "detail": result.detail, "because": result.because}
        | ({"made": result.made} if result.made else {}),
    )
