"""The tables, one definition for SQLite and PostgreSQL; what is written and asked goes through them.

An integer `id` is local and never leaves the database: whatever leaves it is named by digest or uid. A change
here is a revision in `migrations/versions`, and a test compares the two.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import TEXT as POSTGRESQL_TEXT
from sqlalchemy.types import TypeDecorator, TypeEngine

from llorch.base.times import rfc3339
from llorch.registry.records.records import (
    ArtifactKind,
    CheckStatus,
    FileRole,
    Role,
    RunKind,
    RunStatus,
    SourceKind,
)

# Bytes order text on both: SQLite does so by itself, and a range over digests then uses the index.
PlainText = Text().with_variant(POSTGRESQL_TEXT(collation="C"), "postgresql")
Key = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows only under this very word
Document = JSON(none_as_null=True)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Time(TypeDecorator[datetime]):
    """An aware datetime as text in UTC, of fixed width, so that no zone is dropped and text order is time's."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text that orders by its bytes."""
        return dialect.type_descriptor(PlainText)

    def process_bind_param(self, value: datetime | None, _: Dialect) -> str | None:
        """To the database."""
        return None if value is None else rfc3339(value)

    def process_result_value(self, value: str | None, _: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else datetime.fromisoformat(value).astimezone(UTC)


def dumps(document: object) -> str:
    """JSON as it is stored: no NaN, which SQLite would keep and no JSON reader accept."""
    return json.dumps(document, allow_nan=False, sort_keys=True, separators=(",", ":"))


def one_of(column: str, choices: object) -> CheckConstraint:
    """A column that holds one of a Literal's words."""
    words = ", ".join(f"'{word}'" for word in choices.__args__)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({words})", name=column)


def artifact_id(*, primary_key: bool = False) -> Column[int]:
    """A reference to an artifact. No row goes with its parent: a migration drops and copies tables."""
    return Column("artifact_id", Key, ForeignKey("artifact.id"), nullable=False, primary_key=primary_key)


def run_id(*, primary_key: bool = False) -> Column[int]:
    """A reference to a run."""
    return Column("run_id", Key, ForeignKey("run.id"), nullable=False, primary_key=primary_key)


artifact = Table(
    "artifact",
    metadata,
    Column("id", Key, primary_key=True),
    Column("digest", PlainText, nullable=False, unique=True),
    Column("kind", PlainText, nullable=False),
    Column("weights_digest", PlainText, index=True),
    Column("architecture", PlainText),
    Column("dtype", PlainText),
    Column("size_bytes", BigInteger, nullable=False),
    Column("facts", Document, nullable=False),
    Column("first_seen_at", Time, nullable=False),
    one_of("kind", ArtifactKind),
)

file = Table(
    "file",
    metadata,
    Column("id", Key, primary_key=True),
    artifact_id(),
    Column("path", PlainText, nullable=False),
    Column("sha256", PlainText, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("role", PlainText, nullable=False),
    # By content too: equal conversions have unequal records of themselves under one path.
    UniqueConstraint("artifact_id", "path", "sha256"),
    one_of("role", FileRole),
)

tensor = Table(
    "tensor",
    metadata,
    artifact_id(primary_key=True),
    Column("name", PlainText, primary_key=True),
    Column("file", PlainText, nullable=False),
    Column("dtype", PlainText, nullable=False),
    Column("shape", PlainText, nullable=False),  # JSON, as [2,3]
    Column("offset_bytes", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", PlainText, nullable=False, index=True),
)

run = Table(
    "run",
    metadata,
    Column("id", Key, primary_key=True),
    Column("uid", PlainText, nullable=False, unique=True),
    Column("kind", PlainText, nullable=False),
    Column("status", PlainText, nullable=False),
    Column("started_at", Time, nullable=False),
    Column("finished_at", Time),
    Column("host", PlainText),
    Column("params", PlainText, nullable=False),  # canonical JSON: it must come back byte for byte
    Column("error", PlainText),
    Column("exit_code", Integer),
    Column("boot_id", PlainText),
    Column("pid", BigInteger),
    Column("pid_start", BigInteger),
    Index(None, "started_at", "uid"),
    one_of("kind", RunKind),
    one_of("status", RunStatus),
)

run_tool = Table(
    "run_tool",
    metadata,
    run_id(primary_key=True),
    Column("name", PlainText, primary_key=True),
    Column("version", PlainText, nullable=False),
    Index(None, "name", "version"),
)

run_io = Table(
    "run_io",
    metadata,
    run_id(primary_key=True),
    Column("role", PlainText, primary_key=True),
    artifact_id(primary_key=True),
    Column("label", PlainText),
    Index(None, "artifact_id", "role"),
    one_of("role", Role),
)

source = Table(
    "source",
    metadata,
    run_id(primary_key=True),
    Column("kind", PlainText, primary_key=True),
    Column("repository", PlainText, primary_key=True),
    Column("path", PlainText, primary_key=True),
    Column("artifact_id", Key, ForeignKey("artifact.id"), index=True),
    Column("revision_requested", PlainText),
    Column("revision_resolved", PlainText),
    Column("etag", PlainText),
    Column("etag_kind", PlainText),
    Column("expected_digest", PlainText),
    Column("observed_digest", PlainText),
    Column("observed_size", BigInteger),
    one_of("kind", SourceKind),
)

check_result = Table(
    "check_result",
    metadata,
    run_id(primary_key=True),
    artifact_id(primary_key=True),
    Column("name", PlainText, primary_key=True),
    Column("status", PlainText, nullable=False),
    Column("value", PlainText),
    Column("threshold", PlainText),
    Column("op", PlainText),
    Column("unit", PlainText),
    Column("detail", Document),
    Index(None, "artifact_id", "name"),
    one_of("status", CheckStatus),
)

# A log, never an updated cell: what an alias means is the digest of its latest event, nothing if that is NULL.
alias_event = Table(
    "alias_event",
    metadata,
    Column("uid", PlainText, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("alias", PlainText, nullable=False),
    Column("digest", PlainText, index=True),
    Column("at", Time, nullable=False),
    Column("actor", PlainText),
    Column("reason", PlainText),
    Index(None, "name", "alias", "at", "uid"),
)

# A signature of whose verification the registry was told; who signed twice is there once.
signature = Table(
    "signature",
    metadata,
    artifact_id(primary_key=True),
    Column("signer", PlainText, primary_key=True),
    Column("file", PlainText, nullable=False),
    Column("verified_at", Time, nullable=False),
)

# A log as `alias_event` is: what a name demands is its latest event, nothing if `signers` is NULL.
policy_event = Table(
    "policy_event",
    metadata,
    Column("uid", PlainText, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("alias", PlainText, nullable=False),
    Column("signers", Document),  # a list of texts, any one of which is enough
    Column("at", Time, nullable=False),
    Column("actor", PlainText),
    Column("reason", PlainText),
    Index(None, "name", "alias", "at", "uid"),
)

# Where an artifact was last seen: local and mutable, no proof of anything.
location = Table(
    "location",
    metadata,
    Column("host", PlainText, primary_key=True),
    Column("path", PlainText, primary_key=True),
    artifact_id(),
    Column("seen_at", Time, nullable=False),
    Column("verified_at", Time),  # last found to be what is recorded
    Column("gone_at", Time),  # found empty, or emptied by `prune`
    Index(None, "artifact_id"),
)
