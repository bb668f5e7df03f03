"""`list`: artifacts with the latest run that made them, by one SQL statement regardless of their number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Subquery, func, literal, select, tuple_

from llorch.registry.database.schema import alias_event, artifact, run, run_io, signature
from llorch.registry.query.current import alias_heads, names_of, sorted_names, verdict_of
from llorch.registry.records.answers import ListedArtifact
from llorch.registry.records.records import ArtifactKind, Verdict

BETWEEN = "\x1f"  # separator of joined labels, which are names of files and don't contain it


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions for artifacts, combined by "and"; None is no condition. since: made then or later."""

    name: str | None = None
    kind: ArtifactKind | None = None
    architecture: str | None = None
    dtype: str | None = None
    verified: Verdict | None = None
    since: datetime | None = None


def list_artifacts(connection: Connection, chosen: Filter, limit: int | None) -> list[ListedArtifact]:
    """Return the artifacts that match, the latest made first."""
    return [
        ListedArtifact(
            names=sorted_names(row.names),
            digest=row.digest,
            kind=row.kind,
            architecture=row.architecture,
            dtype=row.dtype,
            size_bytes=row.size_bytes,
            source=", ".join(sorted(row.source.split(BETWEEN))) if row.source else None,
            verified=row.verified,
            run=row.uid,
            at=row.started_at,
            signers=sorted(row.signers.split(",")) if row.signers else [],
        )
        for row in connection.execute(select_rows(page(chosen).limit(limit).subquery("page")))
    ]


def page(chosen: Filter) -> Select[tuple[int, int]]:
    """Select the artifacts to list, each with the latest run that made it; limited before their details are read."""
    statement = (
        select(run_io.c.artifact_id, run.c.id.label("run_id"))
        .select_from(run)
        .join(run_io, run_io.c.run_id == run.c.id)
        .where(run_io.c.role == "output", ~is_remade())
        .order_by(run.c.started_at.desc(), run.c.uid.desc(), run_io.c.artifact_id)
    )
    columns = {"kind": artifact.c.kind, "architecture": artifact.c.architecture, "dtype": artifact.c.dtype}
    wanted = [column == getattr(chosen, name) for name, column in columns.items() if getattr(chosen, name)]
    if chosen.name:
        named = alias_heads().where(alias_event.c.name == chosen.name).subquery("named")
        wanted.append(artifact.c.digest.in_(select(named.c.digest)))
    if wanted:
        statement = statement.join(artifact, artifact.c.id == run_io.c.artifact_id).where(*wanted)
    if chosen.verified:
        statement = statement.where(verdict_of(run_io.c.artifact_id) == chosen.verified)
    if chosen.since:
        statement = statement.where(run.c.started_at >= chosen.since)
    return statement


def is_remade() -> ColumnElement[bool]:
    """Return the condition that a later run made the same artifact."""
    later, output = run.alias("later"), run_io.alias("output")
    return (
        select(literal(1))
        .select_from(output)
        .join(later, later.c.id == output.c.run_id)
        .where(
            output.c.artifact_id == run_io.c.artifact_id,
            output.c.role == "output",
            tuple_(later.c.started_at, later.c.uid) > tuple_(run.c.started_at, run.c.uid),
        )
        .correlate(run, run_io)
        .exists()
    )


def select_rows(shown: Subquery) -> Select[Any]:
    """Select all columns of the list for the artifacts of a page."""
    source, output = run_io.alias("source"), run_io.alias("output")
    labels = (
        select(source.c.label)
        .distinct()
        .join(output, output.c.run_id == source.c.run_id)
        .where(
            source.c.role == "input",
            output.c.role == "output",
            output.c.artifact_id == shown.c.artifact_id,
            source.c.label.is_not(None),
        )
        .correlate(shown)
        .subquery("labels")
    )
    signers = (
        select(func.aggregate_strings(signature.c.signer, ","))
        .where(signature.c.artifact_id == shown.c.artifact_id)
        .correlate(shown)
        .scalar_subquery()
    )
    label = select(func.aggregate_strings(labels.c.label, BETWEEN)).scalar_subquery()
    return (
        select(
            *artifact.c["digest", "kind", "architecture", "dtype", "size_bytes"],
            names_of(artifact).label("names"),
            label.label("source"),
            verdict_of(artifact.c.id).label("verified"),
            signers.label("signers"),
            run.c.uid,
            run.c.started_at,
        )
        .select_from(shown)
        .join(artifact, artifact.c.id == shown.c.artifact_id)
        .join(run, run.c.id == shown.c.run_id)
        .order_by(run.c.started_at.desc(), run.c.uid.desc(), artifact.c.digest)
    )
