"""Recording verified signatures, and the policies of names, which are a log: events are never overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from llorch.base.times import rfc3339
from llorch.registry.database.schema import artifact, policy_event, signature
from llorch.registry.errors import UnknownReference
from llorch.registry.query.reference import parse_alias
from llorch.registry.records.records import SignatureRecord, require_aware, require_signer, require_text
from llorch.registry.write.aliases import event_uid
from llorch.registry.write.recording import insert_new


def record_signature(connection: Connection, record: SignatureRecord) -> None:
    """Record a verified signature; of several verifications by the same signer the earliest is kept.

    Raises UnknownReference for an artifact that is not recorded.
    """
    statement = select(artifact.c.id).where(artifact.c.digest == record.artifact)
    artifact_id = connection.execute(statement).scalar_one_or_none()
    if artifact_id is None:
        raise UnknownReference(record.artifact)
    row = {"file": record.file, "verified_at": record.verified_at}
    mine = (signature.c.artifact_id == artifact_id, signature.c.signer == record.signer)
    connection.execute(
        insert_new(connection, signature).values(artifact_id=artifact_id, signer=record.signer, **row)
    )
    known = connection.execute(select(signature).where(*mine)).one()
    if (record.verified_at, record.file) < (known.verified_at, known.file):
        connection.execute(update(signature).where(*mine).values(row))


def set_policy(
    connection: Connection,
    name: str,
    signers: Sequence[str],
    *,
    at: datetime,
    actor: str | None = None,
    reason: str | None = None,
) -> None:
    """Require a signature by any one of `signers` for `name` or `name@alias`; none for [].

    The event's time is later than all earlier ones of the name. Raises InvalidReference and RefusedRecord.
    """
    name, alias = parse_alias(name)
    require_aware(at)
    for text in (actor, reason):
        require_text(text, f"what is said of the policy of {name}@{alias}")
    demanded = sorted({require_signer(one) for one in signers}) or None
    latest = connection.execute(
        select(policy_event.c.at)
        .where(policy_event.c.name == name, policy_event.c.alias == alias)
        .order_by(policy_event.c.at.desc())
        .limit(1)
    ).scalar_one_or_none()
    if latest is not None:
        at = max(at, latest + timedelta(microseconds=1))
    event = {"name": name, "alias": alias, "actor": actor, "reason": reason}
    uid = event_uid(at, {**event, "signers": ",".join(demanded or ()), "at": rfc3339(at)})
    connection.execute(policy_event.insert().values(uid=uid, at=at, signers=demanded, **event))
