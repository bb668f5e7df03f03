"""What the registry answers: plain values, each with the JSON that a command prints of it.

Sizes in JSON are integers, times RFC 3339 in UTC; a key may be added, never renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime

from llorch.base.times import rfc3339
from llorch.registry.records.records import (
    CheckRecord,
    FileRecord,
    Json,
    SignatureRecord,
    SourceRecord,
)


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """A row of `list`: an artifact by the latest run that made it.

    names: `name@alias`, sorted. source: what was put into the runs that made it, by each name that it had there.
    verified: PASSED, INCOMPLETE
    or FAILED by the latest run that checked it, None if none did. signers: whose signatures of it were verified.
    """

    names: Sequence[str]
    digest: str
    kind: str
    architecture: str | None
    dtype: str | None
    size_bytes: int
    source: str | None
    verified: str | None
    run: str
    at: datetime
    signers: Sequence[str] = ()

    def to_json(self) -> dict[str, Json]:
        """One object of the document or line."""
        return as_json(self)


@dataclass(frozen=True, slots=True)
class Use:
    """An artifact in a run, seen from the artifact."""

    run: str
    kind: str
    status: str
    role: str
    label: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where an artifact was last seen, and last found to be what is recorded."""

    host: str
    path: str
    seen_at: datetime
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class Check:
    """What a check measured, and in which run."""

    run: str
    at: datetime
    result: CheckRecord


@dataclass(frozen=True, slots=True)
class Policy:
    """What a `name@alias` demands, who says so since when, and whether what it means now has it.

    signers: any one of them is enough; empty where somebody took the demand away. digest: what the name means, None for
    nothing. is_met: of that; True where nothing is demanded or meant.
    """

    name: str
    signers: Sequence[str]
    since: datetime
    actor: str | None
    reason: str | None
    digest: str | None
    is_met: bool

    def to_json(self) -> dict[str, Json]:
        """One object of the document or line."""
        return as_json(self)


@dataclass(frozen=True, slots=True)
class ArtifactAnswer:
    """Everything that is recorded of an artifact. checks: latest first, every run's. sources: its downloads.

    signatures: those that were verified. policies: of its names, where they demand any.
    """

    digest: str
    kind: str
    weights_digest: str | None
    architecture: str | None
    dtype: str | None
    size_bytes: int
    facts: Mapping[str, Json]
    first_seen_at: datetime
    names: Sequence[str]
    verified: str | None
    files: Sequence[FileRecord]
    runs: Sequence[Use]
    checks: Sequence[Check]
    sources: Sequence[SourceRecord]
    places: Sequence[Place]
    signatures: Sequence[SignatureRecord] = ()
    policies: Sequence[Policy] = ()

    def to_json(self) -> dict[str, Json]:
        """The document of `show`."""
        return {"schema": "llorch.artifact/v1", **as_json(self)}


@dataclass(frozen=True, slots=True)
class Edge:
    """An artifact in a run, seen from the run."""

    role: str
    label: str | None
    digest: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """Everything that is recorded of a run. status: `died` for one whose process is gone."""

    uid: str
    kind: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    host: str | None
    params: Mapping[str, Json]
    error: str | None
    exit_code: int | None
    tools: Mapping[str, str]
    edges: Sequence[Edge]
    checks: Sequence[CheckRecord]
    sources: Sequence[SourceRecord]

    def to_json(self) -> dict[str, Json]:
        """The document of `show`."""
        return {"schema": "llorch.run/v1", **as_json(self)}


def as_json(answer: object) -> dict[str, Json]:
    """The fields of a dataclass, in their order."""
    return {field.name: value_as_json(getattr(answer, field.name)) for field in fields(answer)}  # type: ignore[arg-type]


def value_as_json(value: object) -> Json:
    """Times as RFC 3339, dataclasses as objects, sequences as lists."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if is_dataclass(value):
        return as_json(value)
    if isinstance(value, Mapping):
        return {str(key): value_as_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [value_as_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no JSON for a {type(value).__name__}")
