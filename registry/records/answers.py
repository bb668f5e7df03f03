"""The registry's answers, as plain dataclasses with their JSON for commands.

In JSON, sizes are integers and times RFC 3339 in UTC. Keys may be added, never renamed.
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
    """A row of `list`: an artifact, with the latest run that made it.

    names: `name@alias`, sorted. source: the labels of the inputs of the runs that made it. verified: PASSED, INCOMPLETE
    or FAILED by the latest verification, None if there was none. signers: of its verified signatures.
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
        """Return the answer as one JSON object."""
        return as_json(self)


@dataclass(frozen=True, slots=True)
class Use:
    """A run that an artifact took part in, as part of the artifact's answer."""

    run: str
    kind: str
    status: str
    role: str
    label: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Where an artifact was last seen, and when its content was last verified."""

    host: str
    path: str
    seen_at: datetime
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check, and the run it was made in."""

    run: str
    at: datetime
    result: CheckRecord


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a `name@alias`: required signers, who set it and when, and whether its artifact meets it.

    signers: a signature by any one of them is enough; empty if the policy was removed. digest: of the name's artifact,
    None if it has none. is_met: whether the artifact meets it; True if none is required or there is no artifact.
    """

    name: str
    signers: Sequence[str]
    since: datetime
    actor: str | None
    reason: str | None
    digest: str | None
    is_met: bool

    def to_json(self) -> dict[str, Json]:
        """Return the answer as one JSON object."""
        return as_json(self)


@dataclass(frozen=True, slots=True)
class ArtifactAnswer:
    """Everything recorded about an artifact. checks: of all runs, latest first. sources: its downloads.

    signatures: the verified ones. policies: of its names that require a signature.
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
        """Return the document of `show`."""
        return {"schema": "llorch.artifact/v1", **as_json(self)}


@dataclass(frozen=True, slots=True)
class Edge:
    """An artifact of a run, as part of the run's answer."""

    role: str
    label: str | None
    digest: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """Everything recorded about a run. status: `died` for a running one whose process is gone."""

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
        """Return the document of `show`."""
        return {"schema": "llorch.run/v1", **as_json(self)}


def as_json(answer: object) -> dict[str, Json]:
    """Return the fields of a dataclass as a JSON object, in their order."""
    return {field.name: value_as_json(getattr(answer, field.name)) for field in fields(answer)}  # type: ignore[arg-type]


def value_as_json(value: object) -> Json:
    """Return a value as JSON: times as RFC 3339, dataclasses as objects, sequences as lists."""
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
