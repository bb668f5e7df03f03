"""`lineage`: the ancestors and descendants of an artifact, with the runs between them, as a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from llorch.registry.database.schema import artifact, run, run_io, run_tool, source
from llorch.registry.query.current import names_of, sorted_names, verdict_of, verdict_of_run
from llorch.registry.query.history import batches, status_now
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json

INTO, OUT_OF = ("input", "reference"), ("output", "byproduct")


@dataclass(frozen=True, slots=True)
class ArtifactNode:
    """An artifact in a lineage. label: all labels that runs had for it, joined by commas."""

    digest: str
    kind: str
    dtype: str | None
    size_bytes: int
    names: Sequence[str]
    label: str | None
    verified: str | None


@dataclass(frozen=True, slots=True)
class RunNode:
    """A run in a lineage. source: the download of a fetch. tool: the version of llorch.

    verdict: outcome of its checks; None for a run without checks.
    """

    uid: str
    kind: str
    status: str
    at: datetime
    tool: str | None
    source: str | None
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge between an artifact and a run: inputs and references go in, outputs and byproducts come out.

    label: the run's label for the artifact.
    """

    run: str
    role: str
    digest: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A lineage graph. root: the digest of the queried artifact. Sorted by time, then by id."""

    root: str
    artifacts: Sequence[ArtifactNode]
    runs: Sequence[RunNode]
    arrows: Sequence[Arrow]

    def to_json(self) -> dict[str, Json]:
        """Return the document of `lineage`."""
        return {"schema": "llorch.lineage/v1", **as_json(self)}


def lineage_of(connection: Connection, artifact_id: int) -> Lineage:
    """Return an artifact's ancestors, descendants, and the runs that made or checked any of them."""
    artifacts = find_related(connection, [artifact_id], up=True) | find_related(
        connection, [artifact_id], up=False
    )
    runs = runs_touching(connection, artifacts)
    arrows = arrows_of(connection, runs, artifacts)
    nodes = {node.digest: node for node in artifact_nodes(connection, artifacts)}
    recorded = run_nodes(connection, {arrow.run for arrow in arrows})
    order = {node.uid: place for place, node in enumerate(recorded)}
    root = connection.execute(select(artifact.c.digest).where(artifact.c.id == artifact_id)).scalar_one()
    arrows.sort(key=lambda arrow: (order[arrow.run], arrow.role, arrow.digest))
    met = dict.fromkeys([arrow.digest for arrow in arrows] + [root])
    return Lineage(root, [nodes[digest] for digest in met], recorded, arrows)


def find_related(connection: Connection, start: Iterable[int], *, up: bool) -> set[int]:
    """Return the ids of artifacts with all their ancestors (`up`) or descendants."""
    mine, theirs = run_io.alias("mine"), run_io.alias("theirs")
    seen, new = set(start), sorted(set(start))
    while new:
        found: set[int] = set()
        for some in batches(new):
            statement = (
                select(theirs.c.artifact_id)
                .join(mine, mine.c.run_id == theirs.c.run_id)
                .where(
                    mine.c.artifact_id.in_(some),
                    mine.c.role == ("output" if up else "input"),
                    theirs.c.role == ("input" if up else "output"),
                )
            )
            found |= set(connection.execute(statement).scalars())
        new = sorted(found - seen)
        seen |= found
    return seen


def runs_touching(connection: Connection, artifacts: Iterable[int]) -> list[int]:
    """Return the ids of the runs that any of these artifacts took part in."""
    found: set[int] = set()
    for some in batches(sorted(artifacts)):
        statement = select(run_io.c.run_id).where(run_io.c.artifact_id.in_(some))
        found |= set(connection.execute(statement).scalars())
    return sorted(found)


def arrows_of(connection: Connection, runs: Sequence[int], artifacts: set[int]) -> list[Arrow]:
    """Return the edges of runs, without runs that made or checked an artifact outside of `artifacts`."""
    rows: list[Any] = []
    for some in batches(runs):
        statement = (
            select(*run_io.c["run_id", "role", "artifact_id", "label"], run.c.uid, artifact.c.digest)
            .join(run, run.c.id == run_io.c.run_id)
            .join(artifact, artifact.c.id == run_io.c.artifact_id)
            .where(run_io.c.run_id.in_(some))
        )
        rows += connection.execute(statement).all()
    makers = {row.run_id for row in rows if row.role == "output"}
    elsewhere = {
        row.run_id
        for row in rows
        if row.artifact_id not in artifacts and row.role == ("output" if row.run_id in makers else "input")
    }
    return [Arrow(row.uid, row.role, row.digest, row.label) for row in rows if row.run_id not in elsewhere]


def artifact_nodes(connection: Connection, artifacts: Iterable[int]) -> list[ArtifactNode]:
    """Return the nodes of all artifacts in the runs of these artifacts, so including what they were compared with."""
    rows: list[Any] = []
    for some in batches(runs_touching(connection, artifacts)):
        statement = (
            select(
                *artifact.c["digest", "kind", "dtype", "size_bytes"],
                run_io.c.label,
                names_of(artifact).label("names"),
                verdict_of(artifact.c.id).label("verified"),
            )
            .join(run_io, run_io.c.artifact_id == artifact.c.id)
            .where(run_io.c.run_id.in_(some))
            .order_by(artifact.c.digest, run_io.c.label)
        )
        rows += connection.execute(statement).all()
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.digest, set()).update([row.label] if row.label else [])
    return [
        ArtifactNode(
            row.digest,
            row.kind,
            row.dtype,
            row.size_bytes,
            sorted_names(row.names),
            ", ".join(sorted(labels[row.digest])) or None,
            row.verified,
        )
        for row in {row.digest: row for row in rows}.values()
    ]


def run_nodes(connection: Connection, uids: Iterable[str]) -> list[RunNode]:
    """Return the nodes of runs, sorted by time."""
    origins = origins_of(connection, uids)
    tool = (
        select(run_tool.c.version)
        .where(run_tool.c.run_id == run.c.id, run_tool.c.name == "llorch")
        .correlate(run)
        .scalar_subquery()
    )
    verdict = verdict_of_run(run.c.id).label("verdict")
    statement = select(run, tool.label("tool"), verdict).where(run.c.uid.in_(sorted(uids)))
    rows = connection.execute(statement.order_by(run.c.started_at, run.c.uid))
    now = datetime.now(UTC)
    return [
        RunNode(
            row.uid,
            row.kind,
            status_now(row, now),
            row.started_at,
            row.tool,
            origins.get(row.uid),
            row.verdict,
        )
        for row in rows
    ]


def origins_of(connection: Connection, uids: Iterable[str]) -> Mapping[str, str]:
    """Return what each of these runs fetched, as `repository/path@revision`."""
    statement = (
        select(run.c.uid, source.c.repository, source.c.path, source.c.revision_resolved)
        .join(source, source.c.run_id == run.c.id)
        .where(run.c.uid.in_(sorted(uids)))
        .order_by(source.c.repository.desc(), source.c.path.desc())
    )
    return {
        row.uid: f"{row.repository}/{row.path}"
        + (f"@{row.revision_resolved}" if row.revision_resolved else "")
        for row in connection.execute(statement)
    }
