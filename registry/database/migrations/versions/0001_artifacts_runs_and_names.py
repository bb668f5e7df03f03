"""Artifacts with their files, runs with what went in, came out and was checked, names and places."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    UniqueConstraint,
)
from sqlalchemy import Text as AnyText
from sqlalchemy.dialects.postgresql import TEXT as POSTGRESQL_TEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Text = AnyText().with_variant(POSTGRESQL_TEXT(collation="C"), "postgresql")
Key = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """An empty database gets its tables."""
    create_artifacts()
    create_runs()
    create_names_and_places()


def create_artifacts() -> None:
    """What there is, by digest."""
    op.create_table(
        "artifact",
        Column("id", Key, nullable=False),
        Column("digest", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("weights_digest", Text),
        Column("architecture", Text),
        Column("dtype", Text),
        Column("size_bytes", BigInteger, nullable=False),
        Column("facts", JSON, nullable=False),
        Column("first_seen_at", Text, nullable=False),
        PrimaryKeyConstraint("id", name="pk_artifact"),
        UniqueConstraint("digest", name="uq_artifact_digest"),
        CheckConstraint(
            "kind IN ('gguf', 'gguf-split', 'hf-folder', 'adapter', 'file')", name=op.f("ck_artifact_kind")
        ),
    )
    op.create_index("ix_artifact_weights_digest", "artifact", ["weights_digest"])
    op.create_table(
        "file",
        Column("id", Key, nullable=False),
        Column("artifact_id", Key, nullable=False),
        Column("path", Text, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("role", Text, nullable=False),
        PrimaryKeyConstraint("id", name="pk_file"),
        ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name="fk_file_artifact_id"),
        UniqueConstraint("artifact_id", "path", "sha256", name="uq_file_artifact_id_path_sha256"),
        CheckConstraint(
            "role IN ('weights', 'config', 'tokenizer', 'card', 'record', 'other')", name=op.f("ck_file_role")
        ),
    )
    op.create_index("ix_file_sha256", "file", ["sha256"])


def create_runs() -> None:
    """What was done, with what, to what, and what the checks measured."""
    op.create_table(
        "run",
        Column("id", Key, nullable=False),
        Column("uid", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("started_at", Text, nullable=False),
        Column("finished_at", Text),
        Column("host", Text),
        Column("params", Text, nullable=False),
        Column("error", Text),
        Column("exit_code", Integer),
        PrimaryKeyConstraint("id", name="pk_run"),
        UniqueConstraint("uid", name="uq_run_uid"),
        CheckConstraint(
            "kind IN ('fetch', 'convert', 'verify', 'adopt', 'export')", name=op.f("ck_run_kind")
        ),
        CheckConstraint("status IN ('running', 'failed', 'succeeded')", name=op.f("ck_run_status")),
    )
    op.create_index("ix_run_started_at_uid", "run", ["started_at", "uid"])
    op.create_table(
        "run_tool",
        Column("run_id", Key, nullable=False),
        Column("name", Text, nullable=False),
        Column("version", Text, nullable=False),
        PrimaryKeyConstraint("run_id", "name", name="pk_run_tool"),
        ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_tool_run_id"),
    )
    op.create_index("ix_run_tool_name_version", "run_tool", ["name", "version"])
    op.create_table(
        "run_io",
        Column("run_id", Key, nullable=False),
        Column("role", Text, nullable=False),
        Column("artifact_id", Key, nullable=False),
        Column("label", Text),
        PrimaryKeyConstraint("run_id", "role", "artifact_id", name="pk_run_io"),
        ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_io_run_id"),
        ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name="fk_run_io_artifact_id"),
        CheckConstraint("role IN ('input', 'output', 'reference', 'byproduct')", name=op.f("ck_run_io_role")),
    )
    op.create_index("ix_run_io_artifact_id_role", "run_io", ["artifact_id", "role"])
    op.create_table(
        "check_result",
        Column("run_id", Key, nullable=False),
        Column("artifact_id", Key, nullable=False),
        Column("name", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("value", Text),
        Column("threshold", Text),
        Column("op", Text),
        Column("unit", Text),
        Column("detail", JSON),
        PrimaryKeyConstraint("run_id", "artifact_id", "name", name="pk_check_result"),
        ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_check_result_run_id"),
        ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name="fk_check_result_artifact_id"),
        CheckConstraint(
            "status IN ('PASSED', 'WARNED', 'FAILED', 'SKIPPED', 'ERROR')",
            name=op.f("ck_check_result_status"),
        ),
    )
    op.create_index("ix_check_result_artifact_id_name", "check_result", ["artifact_id", "name"])


def create_names_and_places() -> None:
    """What artifacts are called, as a log, and where they were seen."""
    op.create_table(
        "alias_event",
        Column("uid", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("alias", Text, nullable=False),
        Column("digest", Text),
        Column("at", Text, nullable=False),
        Column("actor", Text),
        Column("reason", Text),
        PrimaryKeyConstraint("uid", name="pk_alias_event"),
    )
    op.create_index("ix_alias_event_digest", "alias_event", ["digest"])
    op.create_index("ix_alias_event_name_alias_at_uid", "alias_event", ["name", "alias", "at", "uid"])
    op.create_table(
        "location",
        Column("host", Text, nullable=False),
        Column("path", Text, nullable=False),
        Column("artifact_id", Key, nullable=False),
        Column("seen_at", Text, nullable=False),
        PrimaryKeyConstraint("host", "path", name="pk_location"),
        ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name="fk_location_artifact_id"),
    )
    op.create_index("ix_location_artifact_id", "location", ["artifact_id"])
