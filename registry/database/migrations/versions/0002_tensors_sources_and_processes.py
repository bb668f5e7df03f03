"""Tensors of artifacts, where a download came from, and which process a run is.

Older rows did not record these: their runs have no process, and so are never said to have died; their places have
neither been verified nor found empty.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.dialects.postgresql import TEXT as POSTGRESQL_TEXT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Text = AnyText().with_variant(POSTGRESQL_TEXT(collation="C"), "postgresql")
Key = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Columns that may be empty, and two tables: nothing that is there changes."""
    op.add_column("run", Column("boot_id", Text))
    op.add_column("run", Column("pid", BigInteger))
    op.add_column("run", Column("pid_start", BigInteger))
    op.add_column("location", Column("verified_at", Text))
    op.add_column("location", Column("gone_at", Text))
    op.create_table(
        "tensor",
        Column("artifact_id", Key, nullable=False),
        Column("name", Text, nullable=False),
        Column("file", Text, nullable=False),
        Column("dtype", Text, nullable=False),
        Column("shape", Text, nullable=False),
        Column("offset_bytes", BigInteger, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("sha256", Text, nullable=False),
        PrimaryKeyConstraint("artifact_id", "name", name="pk_tensor"),
        ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name="fk_tensor_artifact_id"),
    )
    op.create_index("ix_tensor_sha256", "tensor", ["sha256"])
    op.create_table(
        "source",
        Column("run_id", Key, nullable=False),
        Column("kind", Text, nullable=False),
        Column("repository", Text, nullable=False),
        Column("path", Text, nullable=False),
        Column("artifact_id", Key),
        Column("revision_requested", Text),
        Column("revision_resolved", Text),
        Column("etag", Text),
        Column("etag_kind", Text),
        Column("expected_digest", Text),
        Column("observed_digest", Text),
        Column("observed_size", BigInteger),
        PrimaryKeyConstraint("run_id", "kind", "repository", "path", name="pk_source"),
        ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_source_run_id"),
        ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name="fk_source_artifact_id"),
        CheckConstraint("kind IN ('hub', 'url', 'file')", name=op.f("ck_source_kind")),
    )
    op.create_index("ix_source_artifact_id", "source", ["artifact_id"])
