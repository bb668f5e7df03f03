"""Alembic's revisions of the schema; a registry is upgraded from any of them to the newest."""
