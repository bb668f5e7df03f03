"""Connections to the database: opening, locking, and translation of errors.

A transaction that may write starts with BEGIN IMMEDIATE: if it started as a reader, SQLite would refuse to upgrade it
while another process writes, at once and regardless of the timeout. So, on every version of Python, the driver is
prevented from starting transactions itself, and an event handler starts them.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from llorch.base.progress import Waiting, not_shown
from llorch.registry.database.location import without_password
from llorch.registry.database.lock_holder import lock_holder
from llorch.registry.database.schema import dumps
from llorch.registry.errors import (
    NotARegistry,
    RegistryError,
    RegistryLocked,
    RegistryReadOnly,
    RegistryUnreachable,
    quote_text,
)

UNSEEN_S = 0.2  # a wait for another writer is shown only after this time
TIMEOUT_S = 60.0  # the lock is not fair: under 16 hot writers the longest wait measured was 20 s

HELD = "{holder} held it for longer than {timeout:g} s; try again"

# Prefix of SQLite's error name → exception and message.
SQLITE_ERRORS: tuple[tuple[str, type[RegistryError], str], ...] = (
    ("SQLITE_BUSY", RegistryLocked, HELD),
    ("SQLITE_LOCKED", RegistryLocked, HELD),
    ("SQLITE_NOTADB", NotARegistry, "is no SQLite database"),
    ("SQLITE_CORRUPT", NotARegistry, "is damaged; its copies are named like it and end in .bak-…"),
    ("SQLITE_READONLY", RegistryReadOnly, "cannot be written"),
    ("SQLITE_PERM", RegistryUnreachable, "may not be opened"),
    ("SQLITE_CANTOPEN", RegistryUnreachable, "cannot be opened: a folder is missing, or not permitted"),
)
POSTGRESQL_ERRORS: tuple[tuple[str, type[RegistryError], str], ...] = (
    ("25006", RegistryReadOnly, "cannot be written"),
    ("42501", RegistryReadOnly, "does not permit it"),
    ("55P03", RegistryLocked, "another session held it for too long; try again"),
)

# All statements of a read transaction see one snapshot; SQLite does this by default.
POSTGRESQL_READING: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Database:
    """One SQLite file or PostgreSQL database, by path or SQLAlchemy URL; nothing is opened before it is used.

    path: the file, None for a server. shown: its name in messages, without a password. waiting: called with a text,
    returns a context manager that is active while waiting for other writers. Raises RegistryUnreachable for a URL of
    another kind.
    """

    def __init__(
        self, url: str | os.PathLike[str], *, timeout_s: float = TIMEOUT_S, waiting: Waiting = not_shown
    ) -> None:
        self.timeout_s = timeout_s
        self._waiting = waiting
        self.shown = without_password(os.fspath(url))
        self.path: Path | None = None
        parsed = self._parse(os.fspath(url))
        if parsed is not None and parsed.get_backend_name() == "postgresql":
            self.engine = self._postgresql(parsed)
        elif parsed is None or (parsed.get_backend_name() == "sqlite" and parsed.database):
            self.path = Path(os.fspath(url) if parsed is None else str(parsed.database)).absolute()
            self.engine = self._sqlite()
        else:
            raise RegistryUnreachable(f"{self.shown}: a registry is an SQLite file or a postgresql:// URL")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one snapshot and takes no write lock."""
        options = {"write": False} if self.path is not None else POSTGRESQL_READING
        with self.errors(), self.engine.execution_options(**options).begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock from its first statement on."""
        with self.errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Within the `with` block, turn the driver's errors into RegistryError."""
        try:
            yield
        except DBAPIError as error:
            raise self.meaning(error.orig or error) from error
        except sqlite3.Error as error:
            raise self.meaning(error) from error

    def meaning(self, error: BaseException) -> RegistryError:
        """Return the RegistryError for an error of a driver."""
        code = str(getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or "")
        for start, cls, what in (*SQLITE_ERRORS, *POSTGRESQL_ERRORS):
            if code.startswith(start):
                what = what.format(timeout=self.timeout_s, holder=self._holder() or "another process")
                return cls(f"registry {self.shown}: {what}")
        line = " ".join(str(error).split())[:300]
        if type(error).__name__ == "OperationalError" and not code and self.path is None:
            return RegistryUnreachable(f"registry {self.shown}: {without_password(line)}")
        return RegistryError(f"registry {self.shown}: {line}{f' ({code})' if code else ''}")

    def create(self) -> None:
        """Create the file, accessible to its owner only, if it doesn't exist."""
        if self.path is None or self.path.exists():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise RegistryUnreachable(f"registry {self.shown}: {error.strerror}") from error
        self._set_journal(journal_mode(sqlite3.sqlite_version_info))

    def leave_wal(self) -> None:
        """Switch a file from WAL to a rollback journal if this version of SQLite has the WAL bug."""
        if self.path is not None and journal_mode(sqlite3.sqlite_version_info) != "wal":
            self._set_journal("delete")

    def _parse(self, url: str) -> URL | None:
        """Parse a URL; None for a path."""
        if "://" not in url:
            return None
        try:
            return make_url(url)
        except (ArgumentError, ValueError):
            raise RegistryUnreachable(f"{quote_text(self.shown)} is no URL that SQLAlchemy knows") from None

    def _sqlite(self) -> Engine:
        """Return an engine that opens only an existing file, and starts transactions by our event handler."""
        engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool, json_serializer=dumps)
        event.listen(engine, "begin", self._begin)
        return engine

    def _begin(self, connection: Connection) -> None:
        """Start an SQLite transaction as a reader or a writer; a writer waits for others, visibly after `UNSEEN_S`."""
        if not connection.get_execution_options().get("write", True):
            connection.exec_driver_sql("BEGIN")
            return
        driver = connection.connection.driver_connection
        assert driver is not None, "a connection that begins is open"
        unseen_s = min(UNSEEN_S, self.timeout_s)
        try:
            driver.execute(f"PRAGMA busy_timeout = {unseen_s * 1000:.0f}")
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY"):
                raise
            held = f", which {holder} holds" if (holder := self._holder()) else ""
            with self._waiting(f"waiting for the registry {self.shown}{held}"):
                driver.execute(f"PRAGMA busy_timeout = {(self.timeout_s - unseen_s) * 1000:.0f}")
                driver.execute("BEGIN IMMEDIATE")
        driver.execute(f"PRAGMA busy_timeout = {self.timeout_s * 1000:.0f}")

    def _holder(self) -> str | None:
        """Return the process that holds the write lock, if the system can tell."""
        return None if self.path is None else lock_holder(self.path)

    def _connect(self) -> sqlite3.Connection:
        """Open a connection with our settings; never creates a file."""
        options: dict[str, Any] = {"isolation_level": None}
        if sys.version_info >= (3, 12):
            options["autocommit"] = sqlite3.LEGACY_TRANSACTION_CONTROL
        name = f"file:{quote(str(self.path))}?mode=rw"
        connection: sqlite3.Connection = sqlite3.connect(name, uri=True, timeout=self.timeout_s, **options)
        try:
            for setting in ("foreign_keys = ON", "synchronous = FULL"):
                connection.execute(f"PRAGMA {setting}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _set_journal(self, mode: str) -> None:
        """Set the journal mode, which is stored in the file; no effect if it is set already."""
        with self.errors(), closing(self._connect()) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")

    def _postgresql(self, url: URL) -> Engine:
        """Return an engine for a server, with psycopg 3 whichever driver the URL names."""
        try:
            return create_engine(url.set(drivername="postgresql+psycopg"), json_serializer=dumps)
        except (ModuleNotFoundError, NoSuchModuleError):
            raise RegistryUnreachable(
                f"registry {self.shown}: PostgreSQL needs psycopg: pip install 'llorch[postgres]'"
            ) from None


def journal_mode(version: tuple[int, ...]) -> str:
    """Return the journal mode that is safe with a version of SQLite: "wal" or "delete".

    From 3.7.0 on, two connections of a WAL database that write and checkpoint at the same moment could lose a
    transaction. This is fixed in 3.51.3, 3.50.7 and 3.44.6; 3.52.0 was withdrawn.
    """
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return "wal" if mended and version[:2] != (3, 52) else "delete"
