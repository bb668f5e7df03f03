"""Names as a log of events: the latest event says what an alias refers to; nothing is overwritten."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from llorch.base.times import rfc3339
from llorch.registry.database.schema import alias_event, artifact
from llorch.registry.digests import canonical_json
from llorch.registry.errors import UnknownReference
from llorch.registry.query.current import alias_heads
from llorch.registry.query.policies import require_allowed
from llorch.registry.query.reference import parse_alias
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json, require_aware, require_text
from llorch.registry.records.run_ids import uuid7


def set_alias(
    connection: Connection,
    name: str,
    digest: str | None,
    *,
    at: datetime,
    actor: str | None = None,
    reason: str | None = None,
) -> None:
    """Set `name` or `name@alias` to a recorded artifact, or to nothing if `digest` is None.

    The event's time is later than all earlier events of the alias, even if the clock went back. No event is added if
    the alias has this digest already. Raises InvalidReference, UnknownReference, RefusedRecord and RefusedByPolicy.
    """
    name, alias = parse_alias(name)
    require_aware(at)
    for text in (actor, reason):
        require_text(text, f"what is said of {name}@{alias}")
    if digest is not None and not is_recorded(connection, digest):
        raise UnknownReference(digest)
    if digest is not None:
        require_allowed(connection, name, alias, digest)
    head = connection.execute(
        select(alias_event.c.digest, alias_event.c.at)
        .where(alias_event.c.name == name, alias_event.c.alias == alias)
        .order_by(alias_event.c.at.desc(), alias_event.c.uid.desc())
        .limit(1)
    ).one_or_none()
    if (head.digest if head else None) == digest:
        return
    if head is not None:
        at = max(at, head.at + timedelta(microseconds=1))
    recorded = {"name": name, "alias": alias, "digest": digest, "actor": actor, "reason": reason}
    uid = event_uid(at, {**recorded, "at": rfc3339(at)})
    connection.execute(alias_event.insert().values(uid=uid, at=at, **recorded))


def event_uid(at: datetime, event: dict[str, str | None]) -> str:
    """Return an event's id: its time, then a hash of its content, so that equal events have the same id everywhere."""
    digits = hashlib.sha256(canonical_json(event)).digest()
    return uuid7(int(at.timestamp() * 1000), int.from_bytes(digits[:10]) >> 6)


def is_recorded(connection: Connection, digest: str) -> bool:
    """Return whether there is an artifact with this digest."""
    return connection.execute(select(artifact.c.id).where(artifact.c.digest == digest)).first() is not None


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One change of an alias: the digest it refers to from then on, None if it was removed."""

    name: str
    digest: str | None
    at: datetime
    actor: str | None
    reason: str | None

    def to_json(self) -> dict[str, Json]:
        """Return the answer as one JSON object."""
        return as_json(self)


def heads(connection: Connection) -> dict[str, str]:
    """Return the current digest of every `name@alias`."""
    return {f"{row.name}@{row.alias}": row.digest for row in connection.execute(alias_heads())}


def alias_log(connection: Connection, name: str) -> list[AliasChange]:
    """Return all changes of a name's aliases, or of one `name@alias`, the latest first. Raises InvalidReference."""
    plain, alias = parse_alias(name)
    statement = select(alias_event).where(alias_event.c.name == plain)
    if "@" in name:
        statement = statement.where(alias_event.c.alias == alias)
    rows = connection.execute(statement.order_by(alias_event.c.at.desc(), alias_event.c.uid.desc()))
    return [AliasChange(f"{row.name}@{row.alias}", row.digest, row.at, row.actor, row.reason) for row in rows]
