"""Where something on the disk comes from: by its bytes, by its weights, or by the tensors that it shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, func, select

from llorch.registry.database.schema import artifact, file, run, run_io, tensor
from llorch.registry.digests import HashedTensor, Progress, digest_of, weights1
from llorch.registry.errors import RefusedRecord
from llorch.registry.query.current import names_of, sorted_names
from llorch.registry.query.history import batches
from llorch.registry.query.lineage import related
from llorch.registry.query.lookup import sources_of_artifact
from llorch.registry.query.tensor_ranges import hashed_tensors
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json, SourceRecord, TensorRecord

Known = Literal["artifact", "file", "weights", "tensors"]

MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """Something on the disk, hashed. tensors: of a folder's safetensors files."""

    path: str
    digest: str
    tensors: Sequence[TensorRecord]


@dataclass(frozen=True, slots=True)
class Origin:
    """A recorded artifact that it is, is part of, or is like.

    made_from: what this came from, all the way up. sources: downloads among these. equal, of: how many
    tensors are shared, of how many that were seen; differing: some that are not.
    """

    digest: str
    kind: str
    names: Sequence[str]
    made_by: str | None
    made_from: Sequence[str]
    sources: Sequence[SourceRecord]
    file: str | None
    equal: int | None
    of: int | None
    differing: Sequence[str]


@dataclass(frozen=True, slots=True)
class Identification:
    """The answer for one path. known: by what it was recognised, None if nothing recorded is like it."""

    path: str
    digest: str
    known: Known | None
    origins: Sequence[Origin]

    def to_json(self) -> dict[str, Json]:
        """One object of the document or line."""
        return as_json(self)


def seen(path: Path, progress: Progress | None = None) -> Seen:
    """What lies at a path, hashed before any transaction begins. Raises OSError and RefusedRecord."""
    digest = digest_of(path, progress)
    try:
        tensors = list(hashed_tensors(path)) if path.is_dir() else []
    except RefusedRecord:  # damaged weights are still told by their bytes
        tensors = []
    return Seen(str(path), digest, tensors)


def identify(connection: Connection, found: Seen) -> Identification:
    """Which recorded artifact something is: itself, a file of it, the same weights, or some of its tensors."""
    itself = ids(connection, select(artifact.c.id).where(artifact.c.digest == found.digest))
    if itself:
        return Identification(found.path, found.digest, "artifact", origins(connection, itself))
    sha256 = found.digest.removeprefix("sha256:")
    part = connection.execute(
        select(file.c.artifact_id, file.c.path).where(file.c.sha256 == sha256).order_by(file.c.artifact_id)
    ).all()
    if part:
        files = {row.artifact_id: row.path for row in part[:MOST_SHOWN]}
        return Identification(found.path, found.digest, "file", origins(connection, list(files), files=files))
    if not found.tensors:
        return Identification(found.path, found.digest, None, [])
    weights = weights1(HashedTensor(t.name, t.dtype, t.shape, t.sha256) for t in found.tensors)
    same = ids(connection, select(artifact.c.id).where(artifact.c.weights_digest == weights))
    if same:
        return Identification(found.path, found.digest, "weights", origins(connection, same))
    shared = sharing(connection, found.tensors)
    known: Known | None = "tensors" if shared else None
    return Identification(found.path, found.digest, known, origins(connection, shared, tensors=found.tensors))


def ids(connection: Connection, statement: object) -> list[int]:
    """The ids that a statement gives, in order."""
    return sorted(connection.execute(statement).scalars())[:MOST_SHOWN]  # type: ignore[call-overload]


def sharing(connection: Connection, tensors: Sequence[TensorRecord]) -> list[int]:
    """Artifacts that hold any of these tensors, those with the most first."""
    counts: dict[int, int] = {}
    digests = sorted({one.sha256 for one in tensors})
    for start in range(0, len(digests), 500):
        statement = (
            select(tensor.c.artifact_id, func.count())
            .where(tensor.c.sha256.in_(digests[start : start + 500]))
            .group_by(tensor.c.artifact_id)
        )
        for artifact_id, count in connection.execute(statement):
            counts[artifact_id] = counts.get(artifact_id, 0) + count
    return sorted(counts, key=lambda one: (-counts[one], one))[:MOST_SHOWN]


def origins(
    connection: Connection,
    artifacts: Sequence[int],
    *,
    files: dict[int, str] | None = None,
    tensors: Sequence[TensorRecord] = (),
) -> list[Origin]:
    """What is recorded of artifacts' pasts, in the order of `artifacts`."""
    return [origin(connection, one, (files or {}).get(one), tensors) for one in artifacts]


def origin(
    connection: Connection, artifact_id: int, file_path: str | None, tensors: Sequence[TensorRecord]
) -> Origin:
    """What is recorded of one artifact's past."""
    statement = select(artifact.c["digest", "kind"], names_of(artifact).label("names"))  # type: ignore[call-overload]
    row = connection.execute(statement.where(artifact.c.id == artifact_id)).one()
    made_by = connection.execute(
        select(run.c.uid)
        .join(run_io, run_io.c.run_id == run.c.id)
        .where(run_io.c.artifact_id == artifact_id, run_io.c.role == "output")
        .order_by(run.c.started_at.desc(), run.c.uid.desc())
        .limit(1)
    ).scalar_one_or_none()
    above = sorted(related(connection, [artifact_id], up=True))
    made_from: list[str] = []
    for some in batches(above):
        made_from += connection.execute(
            select(artifact.c.digest).where(artifact.c.id.in_(some), artifact.c.id != artifact_id)
        ).scalars()
    recorded = (
        {
            one.name: one.sha256
            for one in connection.execute(select(tensor).where(tensor.c.artifact_id == artifact_id))
        }
        if tensors
        else {}
    )
    differing = sorted(one.name for one in tensors if recorded.get(one.name) != one.sha256)
    return Origin(
        digest=row.digest,
        kind=row.kind,
        names=sorted_names(row.names),
        made_by=made_by,
        made_from=sorted(made_from),
        sources=[one for artifact_id in above for one in sources_of_artifact(connection, artifact_id)],
        file=file_path,
        equal=len(tensors) - len(differing) if tensors else None,
        of=len(tensors) if tensors else None,
        differing=differing[:MOST_SHOWN],
    )
