"""`show`: resolve a reference to an artifact or a run, and read everything recorded about it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from llorch.registry.database.schema import (
    alias_event,
    artifact,
    check_result,
    file,
    location,
    run,
    run_io,
    run_tool,
    signature,
    source,
)
from llorch.registry.digests import LABELS
from llorch.registry.errors import AmbiguousReference, InvalidReference, UnknownReference, quote_text
from llorch.registry.query.current import alias_heads, names_of, sorted_names, verdict_of
from llorch.registry.query.history import status_now
from llorch.registry.query.policies import policies_in_force
from llorch.registry.query.reference import DigestReference, NameReference, Reference, RunReference
from llorch.registry.records.answers import ArtifactAnswer, Check, Edge, Place, RunAnswer, Use
from llorch.registry.records.records import CheckRecord, FileRecord, SignatureRecord, SourceRecord

MOST_CANDIDATES = 10
DIGITS_SHOWN = 12
# Former names of checks: records keep the old name, answers have the current one.
RENAMED_CHECKS = {"closure": "round_trip"}


@dataclass(frozen=True, slots=True)
class Match:
    """The row of `artifact` or `run` that a reference resolves to."""

    kind: Literal["artifact", "run"]
    id: int


def find(connection: Connection, text: str, parsed: Reference | str) -> Match:
    """Resolve a reference; `parsed` may also be a complete digest.

    text: the reference as written, for messages. Raises UnknownReference and AmbiguousReference.
    """
    match parsed:
        case NameReference():
            return find_named(connection, text, parsed)
        case RunReference():
            return one(connection, text, [], runs_like(connection, parsed.part))
        case DigestReference():
            artifacts = artifacts_like(connection, parsed)
            bare = parsed.label is None and not artifacts
            return one(connection, text, artifacts, runs_like(connection, parsed.hex) if bare else [])
        case str():
            label, _, digits = parsed.partition(":")
            return one(connection, text, artifacts_like(connection, DigestReference(label, digits)), [])
        case _:
            raise TypeError(f"a path has to be hashed before it is looked up: {text}")


def find_artifact(connection: Connection, text: str, parsed: Reference | str) -> int:
    """Resolve a reference to an artifact's id; raises what `find` does, and InvalidReference for a run."""
    return artifact_id(text, find(connection, text, parsed))


def artifact_id(text: str, found: Match) -> int:
    """Return the id of a match; raises InvalidReference for a run."""
    if found.kind != "artifact":
        raise InvalidReference(f"{quote_text(text)} is a run, where an artifact is meant")
    return found.id


def digest_of(connection: Connection, artifact_id: int) -> str:
    """Return an artifact's digest."""
    return str(connection.execute(select(artifact.c.digest).where(artifact.c.id == artifact_id)).scalar_one())


def artifacts_like(connection: Connection, wanted: DigestReference) -> Sequence[int]:
    """Return the ids of artifacts whose digest, of content or of weights, starts with the given digits."""
    labels = LABELS if wanted.label is None else (wanted.label,)
    ranges = [
        begins_with(column, f"{label}:{wanted.hex}")
        for label in labels
        for column in (artifact.c.digest, artifact.c.weights_digest)
    ]
    return connection.execute(select(artifact.c.id).where(or_(*ranges))).scalars().all()


def begins_with(column: ColumnElement[Any], prefix: str) -> ColumnElement[bool]:
    """Return a prefix condition as a range, which can use the index; all hex digits sort below `g`."""
    return and_(column >= prefix, column < prefix + "g")


def runs_like(connection: Connection, part: str) -> Sequence[int]:
    """Return the runs whose uid starts or ends with `part`, ignoring dashes."""
    digits = part.replace("-", "")
    plain = func.replace(run.c.uid, "-", "")
    length = len(digits)
    begins, ends = func.substr(plain, 1, length), func.substr(plain, 33 - length, length)
    return connection.execute(select(run.c.id).where(or_(begins == digits, ends == digits))).scalars().all()


def one(connection: Connection, text: str, artifacts: Sequence[int], runs: Sequence[int]) -> Match:
    """Return the only match; raises UnknownReference for none and AmbiguousReference for several."""
    found = [*(Match("artifact", id_) for id_ in artifacts), *(Match("run", id_) for id_ in runs)]
    if not found:
        raise UnknownReference(text)
    if len(found) > 1:
        raise AmbiguousReference(text, candidates(connection, artifacts, runs))
    return found[0]


def candidates(connection: Connection, artifacts: Sequence[int], runs: Sequence[int]) -> list[str]:
    """Return an unambiguous reference, with a description, for each match; at most ten."""
    rows = connection.execute(
        select(artifact.c.digest, artifact.c.kind, names_of(artifact).label("names"))
        .where(artifact.c.id.in_(artifacts))
        .order_by(artifact.c.digest)
    ).all()
    length = distinct_length([row.digest for row in rows], DIGITS_SHOWN + len("weights1:"))
    recorded = [f"{row.digest[:length]} ({', '.join([row.kind, *sorted_names(row.names)])})" for row in rows]
    statement = select(run.c.uid, run.c.kind).where(run.c.id.in_(runs)).order_by(run.c.uid)
    recorded += [f"run:{row.uid} ({row.kind})" for row in connection.execute(statement)]
    more = [f"{len(recorded) - MOST_CANDIDATES} more"] if len(recorded) > MOST_CANDIDATES else []
    return recorded[:MOST_CANDIDATES] + more


def distinct_length(texts: Sequence[str], least: int) -> int:
    """Return the length of prefix, at least `least`, at which all texts differ."""
    longest = max(map(len, texts), default=0)
    return next((n for n in range(least, longest) if len({t[:n] for t in texts}) == len(texts)), longest)


def find_named(connection: Connection, text: str, wanted: NameReference) -> Match:
    """Resolve an alias to its current artifact, or to the one before its last `back` changes."""
    events = connection.execute(
        select(alias_event.c.digest)
        .where(alias_event.c.name == wanted.name, alias_event.c.alias == wanted.alias)
        .order_by(alias_event.c.at.desc(), alias_event.c.uid.desc())
        .limit(wanted.back + 1)
    ).all()
    digest = events[wanted.back].digest if len(events) > wanted.back else None
    if digest is None:
        hint = f"a path begins with ./, as ./{text}" if not events else ""
        raise UnknownReference(text, near=near(connection, wanted), hint=hint)
    return Match(
        "artifact", connection.execute(select(artifact.c.id).where(artifact.c.digest == digest)).scalar_one()
    )


def near(connection: Connection, wanted: NameReference) -> list[str]:
    """Return up to three known names with a spelling similar to an unknown one."""
    known = sorted(f"{row.name}@{row.alias}" for row in connection.execute(alias_heads()))
    return difflib.get_close_matches(f"{wanted.name}@{wanted.alias}", known, n=3, cutoff=0.6)


def artifact_answer(connection: Connection, artifact_id: int) -> ArtifactAnswer:
    """Return everything recorded about an artifact."""
    statement = select(
        artifact, names_of(artifact).label("names"), verdict_of(artifact.c.id).label("verified")
    ).where(artifact.c.id == artifact_id)
    row = connection.execute(statement).one()
    names = sorted_names(row.names)
    return ArtifactAnswer(
        digest=row.digest,
        kind=row.kind,
        weights_digest=row.weights_digest,
        architecture=row.architecture,
        dtype=row.dtype,
        size_bytes=row.size_bytes,
        facts=row.facts,
        first_seen_at=row.first_seen_at,
        names=names,
        verified=row.verified,
        files=files_of(connection, artifact_id),
        runs=uses_of(connection, artifact_id),
        checks=checks_of(connection, artifact_id),
        sources=sources_of_artifact(connection, artifact_id),
        places=places_of(connection, artifact_id),
        signatures=signatures_of(connection, artifact_id, row.digest),
        policies=[one for one in policies_in_force(connection) if one.name in names],
    )


def signatures_of(connection: Connection, artifact_id: int, digest: str) -> list[SignatureRecord]:
    """Return an artifact's verified signatures, sorted by signer."""
    rows = connection.execute(
        select(signature).where(signature.c.artifact_id == artifact_id).order_by(signature.c.signer)
    )
    return [SignatureRecord(digest, row.signer, row.file, row.verified_at) for row in rows]


def files_of(connection: Connection, artifact_id: int) -> list[FileRecord]:
    """Return the files of an artifact, sorted by path."""
    rows = connection.execute(
        select(file).where(file.c.artifact_id == artifact_id).order_by(file.c.path, file.c.sha256)
    )
    return [FileRecord(row.path, row.sha256, row.size_bytes, row.role) for row in rows]


def uses_of(connection: Connection, artifact_id: int) -> list[Use]:
    """Return the runs that an artifact took part in, the latest first."""
    rows = connection.execute(
        select(run, *run_io.c["role", "label"])
        .join(run_io, run_io.c.run_id == run.c.id)
        .where(run_io.c.artifact_id == artifact_id)
        .order_by(run.c.started_at.desc(), run.c.uid.desc(), run_io.c.role)
    )
    now = datetime.now(UTC)
    return [Use(row.uid, row.kind, status_now(row, now), row.role, row.label, row.started_at) for row in rows]


def checks_of(connection: Connection, artifact_id: int) -> list[Check]:
    """Return all checks of an artifact, those of the latest run first."""
    rows = connection.execute(
        select(check_result, run.c.uid, run.c.started_at, artifact.c.digest)
        .join(run, run.c.id == check_result.c.run_id)
        .join(artifact, artifact.c.id == check_result.c.artifact_id)
        .where(check_result.c.artifact_id == artifact_id)
        .order_by(run.c.started_at.desc(), run.c.uid.desc(), check_result.c.name)
    )
    return [Check(row.uid, row.started_at, renamed_check(row)) for row in rows]


def check_record(row: Row[Any]) -> CheckRecord:
    """Return a check as recorded, from a row joined with the artifact's digest."""
    return CheckRecord(
        row.digest, row.name, row.status, row.value, row.threshold, row.op, row.unit, row.detail
    )


def renamed_check(row: Row[Any]) -> CheckRecord:
    """Return a check with its current name, from a row as for `check_record`."""
    return replace(check_record(row), name=RENAMED_CHECKS.get(row.name, row.name))


def places_of(connection: Connection, artifact_id: int) -> list[Place]:
    """Return where an artifact was seen, the latest first."""
    rows = connection.execute(
        select(location)
        .where(location.c.artifact_id == artifact_id)
        .order_by(location.c.seen_at.desc(), location.c.host, location.c.path)
    )
    return [Place(row.host, row.path, row.seen_at, row.verified_at) for row in rows if row.gone_at is None]


def run_answer(connection: Connection, run_id: int) -> RunAnswer:
    """Return everything recorded about a run."""
    row = connection.execute(select(run).where(run.c.id == run_id)).one()
    tools = connection.execute(select(run_tool).where(run_tool.c.run_id == run_id).order_by(run_tool.c.name))
    checks = connection.execute(
        select(check_result, artifact.c.digest)
        .join(artifact, artifact.c.id == check_result.c.artifact_id)
        .where(check_result.c.run_id == run_id)
        .order_by(check_result.c.name, artifact.c.digest)
    )
    return RunAnswer(
        uid=row.uid,
        kind=row.kind,
        status=status_now(row, datetime.now(UTC)),
        started_at=row.started_at,
        finished_at=row.finished_at,
        host=row.host,
        params=json.loads(row.params),
        error=row.error,
        exit_code=row.exit_code,
        tools={tool.name: tool.version for tool in tools},
        edges=edges_of(connection, run_id),
        checks=[renamed_check(check) for check in checks],
        sources=sources_of(connection, run_id),
    )


def sources_of(connection: Connection, run_id: int) -> list[SourceRecord]:
    """Return the downloads of a run."""
    rows = connection.execute(
        select(source, artifact.c.digest)
        .outerjoin(artifact, artifact.c.id == source.c.artifact_id)
        .where(source.c.run_id == run_id)
        .order_by(source.c.kind, source.c.repository, source.c.path)
    )
    return [source_record(row, row.digest) for row in rows]


def sources_of_artifact(connection: Connection, artifact_id: int) -> list[SourceRecord]:
    """Return the downloads of an artifact."""
    rows = connection.execute(
        select(source, artifact.c.digest)
        .join(artifact, artifact.c.id == source.c.artifact_id)
        .where(source.c.artifact_id == artifact_id)
        .order_by(source.c.kind, source.c.repository, source.c.path, source.c.revision_resolved)
    )
    return list(dict.fromkeys(source_record(row, row.digest) for row in rows))


def source_record(row: Row[Any], digest: str | None) -> SourceRecord:
    """Return the record of a source's row; digest: of its artifact."""
    names = [field.name for field in fields(SourceRecord) if field.name != "artifact"]
    return SourceRecord(artifact=digest, **{name: getattr(row, name) for name in names})


def edges_of(connection: Connection, run_id: int) -> list[Edge]:
    """Return the edges of a run, sorted by role and digest."""
    rows: Iterable[Row[Any]] = connection.execute(
        select(*run_io.c["role", "label"], *artifact.c["digest", "kind", "size_bytes"])
        .join(artifact, artifact.c.id == run_io.c.artifact_id)
        .where(run_io.c.run_id == run_id)
        .order_by(run_io.c.role, artifact.c.digest)
    )
    return [Edge(row.role, row.label, row.digest, row.kind, row.size_bytes) for row in rows]
