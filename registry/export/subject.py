"""The subject of an export: an artifact, the run that made it, and the run's inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from llorch.registry.database.schema import alias_event, artifact, run, run_io
from llorch.registry.errors import UnknownReference
from llorch.registry.query import lookup
from llorch.registry.query.reference import NameReference
from llorch.registry.records.answers import ArtifactAnswer, RunAnswer
from llorch.registry.records.records import FileRecord, SourceRecord


@dataclass(frozen=True, slots=True)
class Input:
    """An input of the run. label: its name in the run. sources: its downloads."""

    artifact: ArtifactAnswer
    label: str | None
    sources: Sequence[SourceRecord]

    @property
    def uris(self) -> list[str]:
        """The URIs of its downloads; if there are none, `file:` and its name."""
        return sorted(map(uri, self.sources)) or [f"file:{self.label or self.artifact.digest}"]


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact, the run that made it, and the run's inputs, sorted by digest.

    asked: the name in the request. If several runs made the same bytes, `run` is the latest before the artifact got
    that name, else the latest.
    """

    artifact: ArtifactAnswer
    run: RunAnswer
    inputs: Sequence[Input]
    asked: str | None = None

    @property
    def name(self) -> str:
        """Its name: the one in the request, else its first name, else its label in the run, else its digest."""
        if self.asked is not None:
            return self.asked
        labels = [edge.label for edge in self.run.edges if edge.digest == self.artifact.digest]
        names = [name.rpartition("@")[0] for name in self.artifact.names]
        return next(filter(None, [*names, *labels]), self.artifact.digest)

    @property
    def files(self) -> list[FileRecord]:
        """The files that are part of its digest, sorted by the bytes of their paths."""
        kept = [file for file in self.artifact.files if file.role != "record"]
        return sorted(kept, key=lambda file: file.path.encode())

    @property
    def licence(self) -> str | None:
        """The licence in the facts of the artifact, else of its inputs."""
        artifacts = [self.artifact, *(one.artifact for one in self.inputs)]
        # Fetches before version 0.2 recorded it as "licence".
        facts = [one.facts.get("license", one.facts.get("licence")) for one in artifacts]
        named = [", ".join(map(str, fact)) if isinstance(fact, list) else fact for fact in facts]
        return next((fact for fact in named if isinstance(fact, str)), None)


def subject_of(connection: Connection, artifact_id: int, asked: NameReference | None = None) -> Subject:
    """Read an artifact and the run that made it. Raises UnknownReference if no run made it."""
    found = lookup.artifact_answer(connection, artifact_id)
    maker = maker_of(connection, found.digest, artifact_id, asked)
    if maker is None:
        raise UnknownReference(found.digest, hint="no recorded run made it, so there is nothing to export")
    edges = connection.execute(
        select(run_io.c.artifact_id, run_io.c.label)
        .join(artifact, artifact.c.id == run_io.c.artifact_id)
        .where(run_io.c.run_id == maker, run_io.c.role == "input")
        .order_by(artifact.c.digest)
    ).all()
    inputs = [
        Input(
            lookup.artifact_answer(connection, edge.artifact_id),
            edge.label,
            lookup.sources_of_artifact(connection, edge.artifact_id),
        )
        for edge in edges
    ]
    return Subject(found, lookup.run_answer(connection, maker), inputs, None if asked is None else asked.name)


def maker_of(
    connection: Connection, digest: str, artifact_id: int, asked: NameReference | None
) -> int | None:
    """Return the id of the latest run that made an artifact; for a name, the latest before the name was set."""
    makers = connection.execute(
        select(run.c.id, run.c.started_at)
        .join(run_io, run_io.c.run_id == run.c.id)
        .where(run_io.c.artifact_id == artifact_id, run_io.c.role == "output", run.c.status == "succeeded")
        .order_by(run.c.started_at.desc(), run.c.uid.desc())
    ).all()
    if asked is not None:
        named = connection.execute(
            select(func.max(alias_event.c.at)).where(
                alias_event.c.name == asked.name,
                alias_event.c.alias == asked.alias,
                alias_event.c.digest == digest,
            )
        ).scalar()
        before = [row.id for row in makers if named is not None and row.started_at <= named]
        if before:
            return int(before[0])
    return int(makers[0].id) if makers else None


def uri(recorded: SourceRecord) -> str:
    """Return a download as a URI."""
    if recorded.kind == "hub":
        revision = f"@{recorded.revision_resolved}" if recorded.revision_resolved else ""
        return f"hf://models/{recorded.repository}{revision}/{recorded.path}"
    return (
        f"{recorded.repository.rstrip('/')}/{recorded.path}"
        if recorded.kind == "url"
        else f"file:{recorded.path}"
    )


def as_bytes(document: object) -> bytes:
    """Return a document as indented JSON with sorted keys, the form of all exports."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
