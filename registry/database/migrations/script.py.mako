"""${message}."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What a user's rows become, and what stays unknown about them."""
    ${upgrades if upgrades else "pass"}
