"""Policies of names: a name may require that its artifact has a verified signature by one of some signers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from llorch.registry.database.schema import artifact, policy_event, signature
from llorch.registry.errors import RefusedByPolicy, quote_text
from llorch.registry.query.current import alias_heads
from llorch.registry.records.answers import Policy

DIGITS_SHOWN = 12


def policies_in_force(connection: Connection) -> list[Policy]:
    """Return the current policies, sorted by name."""
    means = meanings(connection)
    latest = {f"{row.name}@{row.alias}": row for row in events(connection)}
    return [read_policy(connection, row, means) for _, row in sorted(latest.items()) if row.signers]


def policy_log(connection: Connection, name: str, alias: str) -> list[Policy]:
    """Return the changes of a name's policy, the latest first, each evaluated on the name's current artifact."""
    means = meanings(connection)
    rows = [row for row in events(connection) if (row.name, row.alias) == (name, alias)]
    return [read_policy(connection, row, means) for row in reversed(rows)]


def events(connection: Connection) -> Sequence[Row[Any]]:
    """Return all changes of policies, the latest last; there are few."""
    return connection.execute(select(policy_event).order_by(policy_event.c.at, policy_event.c.uid)).all()


def meanings(connection: Connection) -> dict[str, str]:
    """Return the current digest of every `name@alias`."""
    return {f"{head.name}@{head.alias}": head.digest for head in connection.execute(alias_heads())}


def read_policy(connection: Connection, row: Row[Any], means: Mapping[str, str]) -> Policy:
    """Return the policy of an event's row, evaluated on the name's current artifact."""
    name = f"{row.name}@{row.alias}"
    digest = means.get(name)
    signers = list(row.signers or ())
    is_met = not signers or digest is None or bool(set(signers) & set(signers_of(connection, digest)))
    return Policy(name, signers, row.at, row.actor, row.reason, digest, is_met)


def signers_of(connection: Connection, digest: str) -> list[str]:
    """Return the signers of an artifact's verified signatures."""
    statement = (
        select(signature.c.signer)
        .join(artifact, artifact.c.id == signature.c.artifact_id)
        .where(artifact.c.digest == digest)
        .order_by(signature.c.signer)
    )
    return list(connection.execute(statement).scalars())


def require_allowed(connection: Connection, name: str, alias: str, digest: str) -> None:
    """Raise RefusedByPolicy if a name requires a signature that an artifact doesn't have."""
    latest = connection.execute(
        select(policy_event)
        .where(policy_event.c.name == name, policy_event.c.alias == alias)
        .order_by(policy_event.c.at.desc(), policy_event.c.uid.desc())
        .limit(1)
    ).one_or_none()
    if latest is None or not latest.signers:
        return
    have = signers_of(connection, digest)
    if not set(latest.signers) & set(have):
        raise RefusedByPolicy(refusal(f"{name}@{alias}", latest, digest, have))


def refusal(name: str, policy: Row[Any], digest: str, have: Sequence[str]) -> str:
    """Return the message of a refusal: the policy, the signatures there are, and what to do, on one line."""
    demanded = " or ".join(map(brief_signer, policy.signers))
    by = f" by {quote_text(policy.actor)}" if policy.actor else ""
    why = f" ({quote_text(policy.reason)})" if policy.reason else ""
    there = (
        f"is signed by {', '.join(map(brief_signer, have))} alone" if have else "has no verified signature"
    )
    return (
        f"{name} demands a signature by {demanded}, as set on {policy.at:%Y-%m-%d}{by}{why}; "
        f"{digest[: digest.index(':') + 1 + DIGITS_SHOWN]} {there}: `llorch sign` makes one, and "
        "`llorch verify-signature` records it"
    )


def brief_signer(signer: str) -> str:
    """Return a signer for a message; a key is shortened to its first digits."""
    kind, _, rest = signer.partition(":")
    return f"key:{rest[:DIGITS_SHOWN]}" if kind == "key" else signer
