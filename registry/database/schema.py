"""The tables, one definition for SQLite and PostgreSQL, used by all reads and writes.

Integer ids are local and never leave the database: outside, things are named by digest or uid. Every change here needs
a revision in `migrations/versions`; a test compares the two.
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

# Text is sorted by its bytes on both, which SQLite does by default; so a range of digests can use the index.
PlainText = Text().with_variant(POSTGRESQL_TEXT(collation="C"), "postgresql")
Key = BigInteger().with_variant(Integer(), "sqlite")  # SQLite autoincrements only this exact type
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
    """An aware datetime, stored as text in UTC of fixed width, so that no zone is lost and it sorts by time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return text that sorts by its bytes."""
        return dialect.type_descriptor(PlainText)

    def process_bind_param(self, value: datetime | None, _: Dialect) -> str | None:
        """Convert a value for the database."""
        return None if value is None else rfc3339(value)

    def process_result_value(self, value: str | None, _: Dialect) -> datetime | None:
        """Convert a value from the database."""
        return None if value is None else datetime.fromisoformat(value).astimezone(UTC)


def dumps(document: object) -> str:
    """Return JSON for the database, without NaN, which SQLite would store but JSON readers reject."""
    return json.dumps(document, allow_nan=False, sort_keys=True, separators=(",", ":"))


def one_of(column: str, choices: object) -> CheckConstraint:
    """Return a constraint that a column has one of a Literal's values."""
    words = ", ".join(f"'{word}'" for word in choices.__args__)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({words})", name=column)


def artifact_id(*, primary_key: bool = False) -> Column[int]:
    """Return a column that references an artifact. No ON DELETE CASCADE: migrations drop and copy tables."""
    return Column("artifact_id", Key, ForeignKey("artifact.id"), nullable=False, primary_key=primary_key)


def run_id(*, primary_key: bool = False) -> Column[int]:
    """Return a column that references a run."""
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
    # Unique with the content: equal conversions have different record files under the same path.
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
    Column("params", PlainText, nullable=False),  # canonical JSON, kept byte for byte
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

# A log that is only appended to: an alias refers to the digest of its latest event, to nothing if that is NULL.
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

# Verified signatures, one per artifact and signer.
signature = Table(
    "signature",
    metadata,
    artifact_id(primary_key=True),
    Column("signer", PlainText, primary_key=True),
    Column("file", PlainText, nullable=False),
    Column("verified_at", Time, nullable=False),
)

# A log like `alias_event`: the latest event has a name's required signers, none if NULL.
policy_event = Table(
    "policy_event",
    metadata,
    Column("uid", PlainText, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("alias", PlainText, nullable=False),
    Column("signers", Document),  # a list of strings; a signature by any one of them is enough
    Column("at", Time, nullable=False),
    Column("actor", PlainText),
    Column("reason", PlainText),
    Index(None, "name", "alias", "at", "uid"),
)

# Where an artifact was last seen: local and mutable, proves nothing.
location = Table(
    "location",
    metadata,
    Column("host", PlainText, primary_key=True),
    Column("path", PlainText, primary_key=True),
    artifact_id(),
    Column("seen_at", Time, nullable=False),
    Column("verified_at", Time),  # when its content was last found as recorded
    Column("gone_at", Time),  # when it was found missing, or removed by `prune`
    Index(None, "artifact_id"),
)
