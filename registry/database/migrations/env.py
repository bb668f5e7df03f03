"""Alembic's environment: runs revisions on the caller's connection, in its transaction."""

from __future__ import annotations

from alembic import context

from llorch.registry.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
