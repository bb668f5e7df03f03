"""`diff`: the facts, files and tensors in which two recorded artifacts differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from llorch.registry.database.schema import artifact, file, tensor
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json

FACTS = ("kind", "architecture", "dtype", "size_bytes", "weights_digest")


@dataclass(frozen=True, slots=True)
class Differences:
    """Names only in the first, only in the second, and in both but different; and the number of equal ones."""

    only_a: Sequence[str]
    only_b: Sequence[str]
    differing: Sequence[str]
    equal: int


@dataclass(frozen=True, slots=True)
class ArtifactDiff:
    """The differences of two artifacts. facts: name → [the first's, the second's], where they differ."""

    a: str
    b: str
    facts: Mapping[str, Sequence[Json]]
    files: Differences
    tensors: Differences

    @property
    def is_equal(self) -> bool:
        """Whether both are the same artifact."""
        return self.a == self.b

    def to_json(self) -> dict[str, Json]:
        """Return the document of `diff`."""
        return {"schema": "llorch.diff/v1", **as_json(self)}


def diff_artifacts(connection: Connection, first: int, second: int) -> ArtifactDiff:
    """Compare the records of two artifacts, given by id."""
    a, b = (connection.execute(select(artifact).where(artifact.c.id == one)).one() for one in (first, second))
    facts: dict[str, Sequence[Json]] = {
        name: [getattr(a, name), getattr(b, name)] for name in FACTS if getattr(a, name) != getattr(b, name)
    }
    for name in sorted({*a.facts, *b.facts}):
        if a.facts.get(name) != b.facts.get(name):
            facts[name] = [a.facts.get(name), b.facts.get(name)]
    return ArtifactDiff(
        a=a.digest,
        b=b.digest,
        facts=facts,
        files=differences(files_by_path(connection, first), files_by_path(connection, second)),
        tensors=differences(tensors_by_name(connection, first), tensors_by_name(connection, second)),
    )


def files_by_path(connection: Connection, artifact_id: int) -> dict[str, object]:
    """Return path → SHA-256 of the files that are part of the artifact's digest."""
    rows = connection.execute(select(file).where(file.c.artifact_id == artifact_id, file.c.role != "record"))
    return {row.path: row.sha256 for row in rows}


def tensors_by_name(connection: Connection, artifact_id: int) -> dict[str, object]:
    """Return name → (dtype, shape, SHA-256) of an artifact's tensors."""
    rows = connection.execute(select(tensor).where(tensor.c.artifact_id == artifact_id))
    return {row.name: (row.dtype, row.shape, row.sha256) for row in rows}


def differences(a: Mapping[str, object], b: Mapping[str, object]) -> Differences:
    """Return the differences of two mappings by name."""
    both = a.keys() & b.keys()
    differing = sorted(name for name in both if a[name] != b[name])
    return Differences(sorted(a.keys() - b), sorted(b.keys() - a), differing, len(both) - len(differing))
