"""A registry's content as records in a canonical order, for merging and comparing registries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from llorch.registry.database.schema import (
    alias_event,
    artifact,
    check_result,
    file,
    policy_event,
    run,
    run_io,
    run_tool,
    signature,
    source,
    tensor,
)
from llorch.registry.digests import canonical_json
from llorch.registry.query.lookup import check_record, source_record
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import (
    ArtifactRecord,
    EdgeRecord,
    FileRecord,
    Json,
    RunRecord,
    SignatureRecord,
    TensorRecord,
)


@dataclass(frozen=True, slots=True)
class AliasEvent:
    """An alias's digest from a time on, None if it was removed."""

    uid: str
    name: str
    alias: str
    digest: str | None
    at: datetime
    actor: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """An alias's required signers from a time on, None if none are required."""

    uid: str
    name: str
    alias: str
    signers: list[str] | None
    at: datetime
    actor: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """A registry's content except locations, which only apply to one machine.

    artifacts: each with the time it was first seen.
    """

    artifacts: list[tuple[ArtifactRecord, datetime]]
    runs: list[RunRecord]
    events: list[AliasEvent]
    signatures: list[SignatureRecord] = field(default_factory=list)
    policies: list[PolicyEvent] = field(default_factory=list)

    def lines(self) -> Iterator[bytes]:
        """Return one JSON document per fact, sorted; equal registries have equal lines, on any database."""
        rows: list[tuple[str, dict[str, Json]]] = [
            *(("artifact", {**as_json(one), "first_seen_at": at.isoformat()}) for one, at in self.artifacts),
            *(("run", run_document(one)) for one in self.runs),
            *(("alias", as_json(one)) for one in self.events),
            *(("signature", as_json(one)) for one in self.signatures),
            *(("policy", as_json(one)) for one in self.policies),
        ]
        return iter(sorted(canonical_json({"type": kind, **row}) for kind, row in rows))


def run_document(recorded: RunRecord) -> dict[str, Json]:
    """Return a run as JSON, artifacts by digest, without its process, which only has a meaning on its machine."""
    edges = [[edge.role, edge.artifact.digest, edge.label] for edge in recorded.edges]
    return {**as_json(recorded), "edges": edges, "process": None}


def facts_of(connection: Connection) -> Facts:
    """Read a registry's whole content."""
    artifacts = read_artifacts(connection)
    by_id = {key: record for key, (record, _) in artifacts.items()}
    events = connection.execute(select(alias_event).order_by(alias_event.c.uid))
    policies = connection.execute(select(policy_event).order_by(policy_event.c.uid))
    return Facts(
        artifacts=sorted(artifacts.values(), key=lambda one: one[0].digest),
        runs=read_runs(connection, by_id),
        events=[AliasEvent(**row._mapping) for row in events],
        signatures=read_signatures(connection, by_id),
        policies=[PolicyEvent(**row._mapping) for row in policies],
    )


def read_artifacts(connection: Connection) -> dict[int, tuple[ArtifactRecord, datetime]]:
    """Read all artifacts with their files and tensors, by id."""
    files = group_rows(connection, file, "artifact_id", ("path", "sha256"))
    tensors = group_rows(connection, tensor, "artifact_id", ("name",))
    return {
        row.id: (
            ArtifactRecord(
                digest=row.digest,
                kind=row.kind,
                size_bytes=row.size_bytes,
                files=[FileRecord(f.path, f.sha256, f.size_bytes, f.role) for f in files.get(row.id, [])],
                weights_digest=row.weights_digest,
                architecture=row.architecture,
                dtype=row.dtype,
                facts=row.facts,
                tensors=[tensor_record(one) for one in tensors.get(row.id, [])],
            ),
            row.first_seen_at,
        )
        for row in connection.execute(select(artifact))
    }


def tensor_record(row: Row[Any]) -> TensorRecord:
    """Return the record of a tensor's row."""
    shape = tuple(json.loads(row.shape))
    return TensorRecord(row.name, row.dtype, shape, row.file, row.offset_bytes, row.size_bytes, row.sha256)


def read_runs(connection: Connection, artifacts: Mapping[int, ArtifactRecord]) -> list[RunRecord]:
    """Read all runs with their details, sorted by uid."""
    tools = group_rows(connection, run_tool, "run_id", ("name",))
    edges = group_rows(connection, run_io, "run_id", ("role",))
    sources = group_rows(connection, source, "run_id", ("kind", "repository", "path"))
    checks: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(
        select(check_result, artifact.c.digest)
        .join(artifact, artifact.c.id == check_result.c.artifact_id)
        .order_by(artifact.c.digest, check_result.c.name)
    ):
        checks.setdefault(row.run_id, []).append(row)
    return [
        RunRecord(
            uid=row.uid,
            kind=row.kind,
            status=row.status,
            started_at=row.started_at,
            finished_at=row.finished_at,
            host=row.host,
            params=json.loads(row.params),
            tools={one.name: one.version for one in tools.get(row.id, [])},
            edges=read_edges(edges.get(row.id, []), artifacts),
            checks=[check_record(one) for one in checks.get(row.id, [])],
            error=row.error,
            exit_code=row.exit_code,
            sources=[
                source_record(one, artifacts[one.artifact_id].digest if one.artifact_id else None)
                for one in sources.get(row.id, [])
            ],
        )
        for row in connection.execute(select(run).order_by(run.c.uid))
    ]


def read_signatures(connection: Connection, artifacts: Mapping[int, ArtifactRecord]) -> list[SignatureRecord]:
    """Read all verified signatures, sorted by artifact and signer."""
    found = [
        SignatureRecord(artifacts[row.artifact_id].digest, row.signer, row.file, row.verified_at)
        for row in connection.execute(select(signature))
    ]
    return sorted(found, key=lambda one: (one.artifact, one.signer))


def read_edges(rows: Iterable[Row[Any]], artifacts: Mapping[int, ArtifactRecord]) -> list[EdgeRecord]:
    """Return a run's edges, sorted by role and digest."""
    edges = [EdgeRecord(row.role, artifacts[row.artifact_id], row.label) for row in rows]
    return sorted(edges, key=lambda edge: (edge.role, edge.artifact.digest))


def group_rows(
    connection: Connection, table: Table, by: str, order: tuple[str, ...]
) -> dict[int, list[Row[Any]]]:
    """Read a table's rows, grouped by the column `by`, each group sorted by `order`."""
    found: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(select(table).order_by(*(table.c[name] for name in order))):
        found.setdefault(getattr(row, by), []).append(row)
    return found
