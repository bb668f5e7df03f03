"""The schema version of a database, and its upgrade to this program's.

An SQLite file is created when it is first written, and upgraded when it is opened and found older: after making a copy,
in one transaction that holds the write lock, so that a killed upgrade has no effect. A server is shared by a team, so
only `migrate` upgrades it. Alembic takes 0.3 s to import, so only an upgrade does.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table, event, func, inspect, select, text

from llorch.registry.database.engine import Database
from llorch.registry.database.schema import metadata
from llorch.registry.errors import NotARegistry, RegistryError, RegistryNewer, RegistryOlder, RegistryReadOnly

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

REVISIONS = ("0001", "0002", "0003")  # oldest first; a test compares them with the files
HEAD = REVISIONS[-1]
COPIES_KEPT = 3
ADVISORY_LOCK = 0x6C6C6F726368  # "llorch"; held during the upgrade of a server


def schema_version(connection: Connection, shown: str) -> str | None:
    """Return the revision of a database, None for one without tables. Raises NotARegistry, naming it `shown`."""
    if connection.dialect.has_table(connection, "alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if len(found) == 1:
            return str(found[0])
    elif not inspect(connection).get_table_names():
        return None
    raise NotARegistry(f"registry {shown}: holds tables of somebody else")


def require_current(database: Database, *, write: bool) -> bool:
    """Upgrade a database to this program's schema if necessary; return False if there is nothing to read yet.

    Raises RegistryNewer, RegistryOlder for a server, RegistryReadOnly, NotARegistry, and errors of opening it.
    """
    if database.path is not None and not database.path.exists():
        if not write:
            return False
        database.create()
    with database.reading() as connection:
        version = schema_version(connection, database.shown)
    if version == HEAD:
        if write:
            database.leave_wal()
        return True
    if version is not None and version not in REVISIONS:
        raise RegistryNewer(
            f"registry {database.shown} has schema {version}, this program knows {HEAD} and older: "
            "use a newer llorch, or another registry"
        )
    if version is None and not write:
        return False
    if database.path is None:
        raise RegistryOlder(
            f"registry {database.shown} has {f'schema {version}' if version else 'no tables'}, this program "
            f"needs {HEAD}: llorch-registry migrate brings it there"
        )
    try:
        migrate(database)
    except RegistryReadOnly:
        why = "it cannot be written"
    except OSError as error:
        why = f"no copy can be written beside it ({error.strerror})"
    else:
        return True
    raise RegistryReadOnly(
        f"registry {database.shown} has schema {version}, this program needs {HEAD}, and {why}: "
        "work on a copy that can be"
    )


def migrate(database: Database) -> tuple[str | None, str]:
    """Upgrade to `HEAD` in one transaction; return the revision before and after."""
    if database.path is not None:
        database.create()
        # Foreign keys off, since SQLite changes a table by copying and dropping it; has to be set before a transaction.
        event.listen(database.engine, "connect", foreign_keys_off)
    try:
        with database.writing() as connection:
            if database.path is None:
                connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            # Read it again with the lock: another process may have upgraded it.
            before = schema_version(connection, database.shown)
            if before == HEAD:
                return before, HEAD
            if before is not None and before not in REVISIONS:
                raise RegistryNewer(
                    f"registry {database.shown} has schema {before}, this program knows {HEAD} and older: "
                    "use a newer llorch, or another registry"
                )
            if database.path is not None and before is not None:
                # BEGIN IMMEDIATE succeeds on a read-only disk; this write fails there, before the copy is made.
                connection.exec_driver_sql("DELETE FROM alembic_version WHERE false")
                copy_database(database.path, before)
            counts = row_counts(connection)
            run_revisions(connection)
            require_nothing_lost(connection, counts)
    finally:
        if database.path is not None:
            event.remove(database.engine, "connect", foreign_keys_off)
    return before, HEAD


def foreign_keys_off(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Disable foreign keys on the connection of an upgrade, which checks all keys at its end."""
    connection.cursor().execute("PRAGMA foreign_keys = OFF")


def run_revisions(connection: Connection) -> None:
    """Run all revisions that the database doesn't have yet, within its open transaction."""
    from alembic import command  # takes 0.3 s, so only for an upgrade
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "llorch.registry.database:migrations")
    command.upgrade(config, "head")


def row_counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each of our tables."""
    there = set(inspect(connection).get_table_names())
    return {table.name: count(connection, table) for table in metadata.sorted_tables if table.name in there}


def count(connection: Connection, table: Table) -> int:
    """Return the number of rows of a table."""
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def require_nothing_lost(connection: Connection, before: dict[str, int]) -> None:
    """Raise RegistryError, which rolls the upgrade back, if rows or references were lost: SQLite reports neither."""
    after = row_counts(connection)
    if lost := [name for name, rows in before.items() if after.get(name, 0) < rows]:
        raise RegistryError(f"the upgrade would lose rows of {', '.join(lost)}; nothing was changed")
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise RegistryError("the upgrade would break a reference between tables; nothing was changed")


def copy_database(path: Path, version: str) -> Path:
    """Copy the database with SQLite's backup to a file beside it, and keep the latest three; return the path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    copy = path.with_name(f"{path.name}.bak-{version}-{stamp}")
    descriptor = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)
    copies = sorted(path.parent.glob(f"{path.name}.bak-*"), key=lambda one: one.name.rsplit("-", 1)[-1])
    for old in copies[:-COPIES_KEPT]:
        old.unlink()
    return copy
