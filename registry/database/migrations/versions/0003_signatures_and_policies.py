"""Who signed an artifact, and which names demand it.

Older rows recorded neither: nothing that they name is signed as far as the registry knows, and no name demands it.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint
from sqlalchemy import Text as AnyText
from sqlalchemy.dialects.postgresql import TEXT as POSTGRESQL_TEXT

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Text = AnyText().with_variant(POSTGRESQL_TEXT(collation="C"), "postgresql")
Key = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Two tables: nothing that is there changes."""
    op.create_table(
        "signature",
        Column("artifact_id", Key, nullable=False),
        Column("signer", Text, nullable=False),
        Column("file", Text, nullable=False),
        Column("verified_at", Text, nullable=False),
        PrimaryKeyConstraint("artifact_id", "signer", name="pk_signature"),
        ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name="fk_signature_artifact_id"),
    )
    op.create_table(
        "policy_event",
        Column("uid", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("alias", Text, nullable=False),
        Column("signers", JSON),
        Column("at", Text, nullable=False),
        Column("actor", Text),
        Column("reason", Text),
        PrimaryKeyConstraint("uid", name="pk_policy_event"),
    )
    op.create_index("ix_policy_event_name_alias_at_uid", "policy_event", ["name", "alias", "at", "uid"])
