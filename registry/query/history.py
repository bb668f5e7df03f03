"""`history`: runs, the latest first, with their inputs, outputs and status."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from llorch.registry.database.schema import artifact, run, run_io
from llorch.registry.query.current import verdict_of_run
from llorch.registry.records.answers import as_json
from llorch.registry.records.processes import Process, current_status
from llorch.registry.records.records import Json, RunKind

RunEdge = tuple[str, str, str | None]  # role, digest, label


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A row of `history`.

    status: `died` for a run recorded as running whose process is gone. verdict: outcome of its checks, PASSED,
    INCOMPLETE or FAILED; a verification with status succeeded may have found a fault. source: the label of its first
    input; for a run without inputs, the source noted at its start.
    """

    uid: str
    kind: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    host: str | None
    source: str | None
    inputs: Sequence[str]
    outputs: Sequence[str]
    error: str | None
    verdict: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the answer as one JSON object."""
        return as_json(self)


def list_runs(
    connection: Connection, *, artifact_id: int | None, kind: RunKind | None, limit: int | None
) -> list[ListedRun]:
    """Return the runs of one artifact, or all runs, the latest first."""
    verdict = verdict_of_run(run.c.id).label("verdict")
    wanted = select(run, verdict).order_by(run.c.started_at.desc(), run.c.uid.desc()).limit(limit)
    if artifact_id is not None:
        touching = select(run_io.c.run_id).where(run_io.c.artifact_id == artifact_id)
        wanted = wanted.where(run.c.id.in_(touching))
    if kind is not None:
        wanted = wanted.where(run.c.kind == kind)
    rows = connection.execute(wanted).all()
    edges = edges_of_runs(connection, [row.id for row in rows])
    now = datetime.now(UTC)
    return [
        ListedRun(
            uid=row.uid,
            kind=row.kind,
            status=status_now(row, now),
            started_at=row.started_at,
            finished_at=row.finished_at,
            host=row.host,
            source=source_of(row, edges.get(row.id, [])),
            inputs=[digest for role, digest, _ in edges.get(row.id, []) if role == "input"],
            outputs=[digest for role, digest, _ in edges.get(row.id, []) if role == "output"],
            error=row.error,
            verdict=row.verdict,
        )
        for row in rows
    ]


def source_of(row: Row[Any], edges: Sequence[RunEdge]) -> str | None:
    """Return what a run worked on: the label of its first input, else the source noted at its start."""
    labels = [label for role, _, label in edges if role == "input" and label]
    asked = json.loads(row.params).get("source")
    return next(iter(labels), asked if isinstance(asked, str) else None)


def edges_of_runs(connection: Connection, run_ids: Sequence[int]) -> dict[int, list[RunEdge]]:
    """Return the edges of runs, by run id."""
    found: dict[int, list[RunEdge]] = {}
    for some in batches(run_ids):
        statement = (
            select(*run_io.c["run_id", "role", "label"], artifact.c.digest)
            .join(artifact, artifact.c.id == run_io.c.artifact_id)
            .where(run_io.c.run_id.in_(some))
            .order_by(run_io.c.run_id, run_io.c.role, artifact.c.digest)
        )
        for row in connection.execute(statement):
            found.setdefault(row.run_id, []).append((row.role, row.digest, row.label))
    return found


def batches(ids: Sequence[int], size: int = 500) -> Iterable[Sequence[int]]:
    """Split ids into pieces that fit the number of parameters of one statement."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


def status_now(row: Row[Any], now: datetime) -> str:
    """Return the current status of a row of `run`."""
    process = None if row.boot_id is None else Process(row.boot_id, row.pid, row.pid_start)
    return current_status(row.status, row.host, process, row.started_at, now, this_host=socket.gethostname())
