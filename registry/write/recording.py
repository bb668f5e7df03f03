"""Writing records to the tables: new rows are inserted, known ones compared; facts are never overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Insert, Row, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llorch.registry.database.schema import (
    artifact,
    check_result,
    file,
    location,
    run,
    run_io,
    run_tool,
    source,
    tensor,
)
from llorch.registry.digests import canonical_json
from llorch.registry.errors import ConflictingRecord, quote_text
from llorch.registry.records.records import (
    ArtifactRecord,
    CheckRecord,
    EdgeRecord,
    FileRecord,
    RunRecord,
    SourceRecord,
    TensorRecord,
)

SOURCE_FACTS = [field.name for field in fields(SourceRecord) if field.name != "artifact"]
CHECK_FACTS = ("status", "value", "threshold", "op", "unit", "detail")
# Columns that may still change while a run is running; `params` too, since not all options may be used in the end.
OUTCOME = {"status", "finished_at", "params", "error", "exit_code"}


def record_run(connection: Connection, record: RunRecord) -> None:
    """Record a run with its artifacts and their locations; for a known run, only the artifacts and locations."""
    ids = {
        edge.artifact.digest: record_artifact(connection, edge.artifact, record.started_at)
        # Sorted, or two sessions of a server could deadlock.
        for edge in sorted(record.edges, key=lambda edge: edge.artifact.digest)
    }
    run_id, is_new = insert_run(connection, record)
    if is_new:
        record_details(connection, run_id, record, ids)
    else:
        require_same_details(connection, run_id, record, ids)
    for edge in record.edges:
        seen_at = record.finished_at or record.started_at
        record_location(connection, edge, ids[edge.artifact.digest], record.host, seen_at)


def insert_run(connection: Connection, record: RunRecord) -> tuple[int, bool]:
    """Insert or complete a run; return its id, and whether it is new or has just ended. Raises ConflictingRecord."""
    fixed = {
        "kind": record.kind,
        "status": record.status,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "params": canonical_json(dict(record.params)).decode(),
        "error": record.error,
        "exit_code": record.exit_code,
    }
    process = {
        "boot_id": record.process.boot_id if record.process else None,
        "pid": record.process.pid if record.process else None,
        "pid_start": record.process.start if record.process else None,
    }
    inserted = insert_new(connection, run).values(uid=record.uid, host=record.host, **fixed, **process)
    run_id = connection.execute(inserted.returning(run.c.id)).scalar_one_or_none()
    if run_id is not None:
        return int(run_id), True
    known = connection.execute(select(run).where(run.c.uid == record.uid)).one()
    differing = {column for column, value in fixed.items() if getattr(known, column) != value}
    if "running" in (known.status, record.status):
        differing -= OUTCOME
    if differing:
        raise ConflictingRecord(f"run {record.uid} is recorded with another {', '.join(sorted(differing))}")
    changed: dict[str, Any] = {}
    if (host := smaller(record.host, known.host)) != known.host:
        changed["host"] = host
    ended = known.status == "running" and record.status != "running"
    if ended:
        changed |= {column: fixed[column] for column in OUTCOME} | dict.fromkeys(process)
    if changed:
        connection.execute(update(run).where(run.c.id == known.id).values(changed))
    return int(known.id), ended


def require_same_details(
    connection: Connection, run_id: int, record: RunRecord, ids: Mapping[str, int]
) -> None:
    """Raise ConflictingRecord if a run has other tools, artifacts or checks; of two labels the smaller is kept."""
    if record.status == "running":
        return
    tools = connection.execute(select(run_tool).where(run_tool.c.run_id == run_id))
    if {row.name: row.version for row in tools} != dict(record.tools):
        raise ConflictingRecord(f"run {record.uid} is recorded with other tools")
    checks = connection.execute(select(check_result).where(check_result.c.run_id == run_id))
    recorded = {(row.artifact_id, row.name): measurement_bytes(row) for row in checks}
    if recorded != {(ids[one.artifact], one.name): measurement_bytes(one) for one in record.checks}:
        raise ConflictingRecord(f"run {record.uid} is recorded with other checks")
    edges = connection.execute(select(run_io).where(run_io.c.run_id == run_id))
    labels = {(row.role, row.artifact_id): row.label for row in edges}
    if labels.keys() != {(edge.role, ids[edge.artifact.digest]) for edge in record.edges}:
        raise ConflictingRecord(f"run {record.uid} is recorded with other artifacts")
    for edge in record.edges:
        role, artifact_id = edge.role, ids[edge.artifact.digest]
        if (label := smaller(edge.label, labels[role, artifact_id])) != labels[role, artifact_id]:
            connection.execute(
                update(run_io)
                .where(run_io.c.run_id == run_id, run_io.c.role == role, run_io.c.artifact_id == artifact_id)
                .values(label=label)
            )


def measurement_bytes(check: CheckRecord | Row[Any]) -> bytes:
    """Return a check's result as canonical JSON, from a record or a row, for comparison."""
    return canonical_json([getattr(check, name) for name in CHECK_FACTS])


def record_details(connection: Connection, run_id: int, record: RunRecord, ids: Mapping[str, int]) -> None:
    """Insert a run's tools, edges, checks and sources. ids: digest → id of its artifacts."""
    tools = [{"run_id": run_id, "name": name, "version": version} for name, version in record.tools.items()]
    edges = {
        (edge.role, edge.artifact.digest): {
            "run_id": run_id,
            "role": edge.role,
            "artifact_id": ids[edge.artifact.digest],
            "label": edge.label,
        }
        for edge in record.edges
    }
    checks = [
        {
            "run_id": run_id,
            "artifact_id": ids[check.artifact],
            "name": check.name,
            **{name: getattr(check, name) for name in CHECK_FACTS},
        }
        for check in record.checks
    ]
    sources = [
        {
            "run_id": run_id,
            "artifact_id": ids[one.artifact] if one.artifact else None,
            **{name: getattr(one, name) for name in SOURCE_FACTS},
        }
        for one in record.sources
    ]
    tables = ((run_tool, tools), (run_io, list(edges.values())), (check_result, checks), (source, sources))
    for table, rows in tables:
        if rows:
            connection.execute(insert_new(connection, table), rows)


def record_artifact(connection: Connection, record: ArtifactRecord, seen_at: datetime) -> int:
    """Insert an artifact, or complete the one with the same digest; return its id."""
    values = {
        "digest": record.digest,
        "kind": record.kind,
        "weights_digest": record.weights_digest,
        "architecture": record.architecture,
        "dtype": record.dtype,
        "size_bytes": record.size_bytes,
        "facts": dict(record.facts),
        "first_seen_at": seen_at,
    }
    connection.execute(insert_new(connection, artifact).values(values))
    known = connection.execute(select(artifact).where(artifact.c.digest == record.digest)).one()
    require_same(record, known)
    completed = completion(record, known, seen_at)
    if completed:
        connection.execute(update(artifact).where(artifact.c.id == known.id).values(completed))
    files = record.files
    if record.digest.startswith("sha256:"):
        files = as_recorded(connection, known.id, files)
    record_files(connection, known.id, files)
    record_tensors(connection, known.id, record.tensors)
    return int(known.id)


def require_same(record: ArtifactRecord, known: Row[Any]) -> None:
    """Raise ConflictingRecord if size or weights digest differ for the same digest: one of the two records is wrong."""
    if record.size_bytes != known.size_bytes:
        raise ConflictingRecord(
            f"{record.digest} is recorded with {known.size_bytes} bytes, and now told with {record.size_bytes}"
        )
    if record.weights_digest and known.weights_digest and record.weights_digest != known.weights_digest:
        raise ConflictingRecord(
            f"{record.digest} is recorded with {known.weights_digest}, and now told with {record.weights_digest}"
        )


def completion(record: ArtifactRecord, known: Row[Any], seen_at: datetime) -> dict[str, Any]:
    """Return the columns of an artifact to update: unknown facts are filled in.

    Of two different values the smaller is kept, so that the result doesn't depend on the order of records.
    """
    found: dict[str, Any] = {}
    for column in ("kind", "weights_digest", "architecture", "dtype"):
        value = smaller(getattr(record, column), getattr(known, column))
        if value != getattr(known, column):
            found[column] = value
    facts = {**record.facts, **known.facts}
    for name in record.facts.keys() & known.facts.keys():
        facts[name] = min(record.facts[name], known.facts[name], key=canonical_json)
    if facts != known.facts:
        found["facts"] = facts
    if seen_at < known.first_seen_at:
        found["first_seen_at"] = seen_at
    return found


def smaller(a: str | None, b: str | None) -> str | None:
    """Return the smaller of two texts; None or "" counts as unknown."""
    return min(filter(None, (a, b)), default=None)


def as_recorded(
    connection: Connection, artifact_id: int, files: Sequence[FileRecord]
) -> Sequence[FileRecord]:
    """Return the file of a single-file artifact under the name it is recorded by: the smallest of all its names.

    Its other names are kept as labels of runs, and its paths as locations.
    """
    recorded = select(file.c.path).where(file.c.artifact_id == artifact_id).order_by(file.c.path).limit(1)
    path = connection.execute(recorded).scalar_one_or_none()
    name = min([one.path for one in files] + ([path] if path is not None else []), default="")
    if path is not None and name != path:
        connection.execute(
            update(file).where(file.c.artifact_id == artifact_id, file.c.path == path).values(path=name)
        )
    return [replace(one, path=name) for one in files]


def record_files(connection: Connection, artifact_id: int, files: Sequence[FileRecord]) -> None:
    """Record an artifact's files. Raises ConflictingRecord if a path is recorded with other content.

    Except for record files, which are not part of the digest: equal conversions have different ones.
    """
    recorded = select(file).where(file.c.artifact_id == artifact_id)
    known = {(row.path, row.sha256): row for row in connection.execute(recorded)}
    paths = {path for path, _ in known}
    new = [one for one in files if (one.path, one.sha256) not in known]
    differing = [one.path for one in new if one.role != "record" and one.path in paths]
    for one in files:
        row = known.get((one.path, one.sha256))
        if row is not None and row.size_bytes != one.size_bytes:
            differing.append(one.path)
        elif row is not None and one.role < row.role:
            connection.execute(update(file).where(file.c.id == row.id).values(role=one.role))
    if differing:
        raise ConflictingRecord(f"{', '.join(map(quote_text, differing))} is recorded with other content")
    rows = [
        {
            "artifact_id": artifact_id,
            "path": one.path,
            "sha256": one.sha256,
            "size_bytes": one.size_bytes,
            "role": one.role,
        }
        for one in new
    ]
    if rows:
        connection.execute(insert_new(connection, file), rows)


def record_tensors(connection: Connection, artifact_id: int, tensors: Sequence[TensorRecord]) -> None:
    """Record an artifact's tensors, unless there are some already: the weights digest has compared them."""
    recorded = select(tensor.c.name).where(tensor.c.artifact_id == artifact_id).limit(1)
    if tensors and connection.execute(recorded).first() is None:
        rows = [
            {
                "artifact_id": artifact_id,
                "name": one.name,
                "file": one.file,
                "dtype": one.dtype,
                "shape": json.dumps(one.shape),
                "offset_bytes": one.offset_bytes,
                "size_bytes": one.size_bytes,
                "sha256": one.sha256,
            }
            for one in tensors
        ]
        connection.execute(insert_new(connection, tensor), rows)


def record_location(
    connection: Connection, edge: EdgeRecord, artifact_id: int, host: str | None, seen_at: datetime
) -> None:
    """Record where an artifact was seen, unless another was seen there later."""
    if edge.path is None or host is None:
        return
    values = {"host": host, "path": edge.path, "artifact_id": artifact_id, "seen_at": seen_at}
    statement = conflicting_insert(connection, location).values(values)
    statement = statement.on_conflict_do_update(
        index_elements=["host", "path"],
        set_={"artifact_id": artifact_id, "seen_at": seen_at, "verified_at": None, "gone_at": None},
        where=location.c.seen_at <= seen_at,
    )
    connection.execute(statement)


def insert_new(connection: Connection, table: Table) -> Insert:
    """Return an INSERT that does nothing, and returns no row, if a row with the same key exists."""
    return conflicting_insert(connection, table).on_conflict_do_nothing()


def conflicting_insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the dialect's INSERT, which supports ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
