"""`whence`: identify a file or folder on the disk by its bytes, by its weights, or by shared tensors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select

from llorch.base.progress import Progress
from llorch.registry.database.schema import artifact, file, run, run_io, tensor
from llorch.registry.digests import (
    HashedFile,
    HashedTensor,
    digest_of,
    hashed_files,
    is_excluded,
    tree1,
    weights1,
)
from llorch.registry.errors import RefusedRecord
from llorch.registry.query.current import names_of, sorted_names
from llorch.registry.query.history import batches
from llorch.registry.query.lineage import find_related
from llorch.registry.query.lookup import sources_of_artifact
from llorch.registry.query.tensor_ranges import hashed_tensors
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json, SourceRecord, TensorRecord

Known = Literal["artifact", "file", "weights", "content", "tensors"]

MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class HashedPath:
    """A hashed file or folder.

    tensors: of a folder's safetensors files, or as given by the caller. files: of a folder. metadata: of a GGUF file,
    key → digest of its value.
    """

    path: str
    digest: str
    tensors: Sequence[TensorRecord]
    files: Sequence[HashedFile] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """A recorded artifact that the path is, is part of, or resembles.

    made_from: digests of all its ancestors. sources: their downloads. equal, of: number of shared tensors, and of all
    tensors of the path; differing: names of some that are not shared. differs: if the weights are the same, what else
    differs: files, keys, the names or the order of tensors.
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
    differs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Identification:
    """The answer for one path. known: by what it was identified; None if no recorded artifact resembles it."""

    path: str
    digest: str
    known: Known | None
    origins: Sequence[Origin]

    def to_json(self) -> dict[str, Json]:
        """Return the answer as one JSON object."""
        return as_json(self)


def look_at(
    path: Path,
    progress: Progress | None = None,
    tensors: Sequence[TensorRecord] = (),
    metadata: Mapping[str, str] | None = None,
) -> HashedPath:
    """Hash a file or folder, before any transaction is opened. Raises OSError and RefusedRecord."""
    if not path.is_dir():
        return HashedPath(str(path), digest_of(path, progress), tensors, metadata=metadata or {})
    files = hashed_files(path, progress)
    try:
        found = list(tensors) or list(hashed_tensors(path))
    except RefusedRecord:  # damaged weights can still be identified by the files' bytes
        found = []
    return HashedPath(str(path), tree1(files), found, files, metadata or {})


def identify(connection: Connection, found: HashedPath) -> Identification:
    """Find the recorded artifacts that a path is, is a file of, has the same weights as, or shares tensors with."""
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
        return Identification(found.path, found.digest, "weights", origins(connection, same, like=found))
    shared = sharing(connection, found.tensors)
    renamed = [one for one in shared if contents(connection, one) == bytes_of(found.tensors)]
    if renamed:
        return Identification(found.path, found.digest, "content", origins(connection, renamed, like=found))
    known: Known | None = "tensors" if shared else None
    return Identification(found.path, found.digest, known, origins(connection, shared, tensors=found.tensors))


def ids(connection: Connection, statement: object) -> list[int]:
    """Return the ids that a statement selects, sorted, at most `MOST_SHOWN`."""
    return sorted(connection.execute(statement).scalars())[:MOST_SHOWN]  # type: ignore[call-overload]


def sharing(connection: Connection, tensors: Sequence[TensorRecord]) -> list[int]:
    """Return the ids of artifacts that contain any of these tensors, those with most of them first."""
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
    like: HashedPath | None = None,
) -> list[Origin]:
    """Return the origins of artifacts, in their order. like: a path with the same weights, to list what differs."""
    found = [origin(connection, one, (files or {}).get(one), tensors) for one in artifacts]
    if like is None:
        return found
    return [
        replace(one, differs=differences(connection, artifact_id, like))
        for artifact_id, one in zip(artifacts, found, strict=True)
    ]


def contents(connection: Connection, artifact_id: int) -> Counter[tuple[str, str, str]]:
    """Return the (dtype, shape, SHA-256) of an artifact's tensors, without names."""
    rows = connection.execute(select(tensor).where(tensor.c.artifact_id == artifact_id))
    return Counter((row.dtype, json.dumps(json.loads(row.shape)), row.sha256) for row in rows)


def bytes_of(tensors: Sequence[TensorRecord]) -> Counter[tuple[str, str, str]]:
    """Return the (dtype, shape, SHA-256) of tensors, as `contents` does."""
    return Counter((one.dtype, json.dumps(list(one.shape)), one.sha256) for one in tensors)


def differences(connection: Connection, artifact_id: int, like: HashedPath) -> list[str]:
    """Return how a path differs from an artifact with the same weights, in words."""
    facts = connection.execute(select(artifact.c.facts).where(artifact.c.id == artifact_id)).scalar_one()
    recorded = facts.get("metadata") or {}
    found = (
        [
            f"key {key}"
            for key in sorted({*recorded, *like.metadata})
            if recorded.get(key) != like.metadata.get(key)
        ]
        if recorded and like.metadata
        else []
    )
    rows = connection.execute(select(file).where(file.c.artifact_id == artifact_id, file.c.role != "record"))
    files = {row.path: row.sha256 for row in rows}
    here = {one.path: one.sha256 for one in like.files if not is_excluded(one.path)}
    if here:
        found += [f"file {path}" for path in sorted({*files, *here}) if files.get(path) != here.get(path)]
    was = {
        row.name: row for row in connection.execute(select(tensor).where(tensor.c.artifact_id == artifact_id))
    }
    renamed = sum(one.name not in was for one in like.tensors)
    if renamed:
        found.append(f"names of {renamed} tensors")
    elif len({one.file for one in like.tensors}) != len({row.file for row in was.values()}):
        found.append(f"{len({one.file for one in like.tensors})} files of weights")
    elif [one.name for one in sorted(like.tensors, key=place)] != sorted(
        was, key=lambda name: place(was[name])
    ):
        found.append("order of the tensors")
    return found


def place(one: TensorRecord | Row[Any]) -> tuple[str, int]:
    """Sort key of a tensor's position."""
    return one.file, one.offset_bytes


def origin(
    connection: Connection, artifact_id: int, file_path: str | None, tensors: Sequence[TensorRecord]
) -> Origin:
    """Return one artifact's origin. file_path: the matching file in it, if any. tensors: to compare with."""
    statement = select(artifact.c["digest", "kind"], names_of(artifact).label("names"))  # type: ignore[call-overload]
    row = connection.execute(statement.where(artifact.c.id == artifact_id)).one()
    made_by = connection.execute(
        select(run.c.uid)
        .join(run_io, run_io.c.run_id == run.c.id)
        .where(run_io.c.artifact_id == artifact_id, run_io.c.role == "output")
        .order_by(run.c.started_at.desc(), run.c.uid.desc())
        .limit(1)
    ).scalar_one_or_none()
    above = sorted(find_related(connection, [artifact_id], up=True))
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
