"""Opening, locking and errors: one writer at a time, readers without a lock, errors that name the registry."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import random
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from llorch.registry import Registry
from llorch.registry.database.engine import journal_mode
from llorch.registry.errors import (
    NotARegistry,
    RegistryError,
    RegistryLocked,
    RegistryNewer,
    RegistryReadOnly,
    RegistryUnreachable,
)
from tests.registry.invented import START, conversion, folder, verification

WRITER = """
import sys
from datetime import timedelta
from llorch.registry import Registry
from tests.registry.invented import START, conversion, folder
registry, first = Registry(sys.argv[1]), int(sys.argv[2])
for n in range(first, first + 10_000):
    registry.record(conversion(f"m{n}", at=START + timedelta(seconds=n)), names={"model": folder(f"m{n}").digest})
    print(n, flush=True)
"""


def traced(registry: Registry) -> list[str]:
    """Record every statement that reaches SQLite from now on."""
    statements: list[str] = []
    event.listen(
        registry._database.engine,
        "connect",
        lambda connection, _: connection.set_trace_callback(statements.append),
    )
    return statements


def test_a_writing_unit_begins_with_the_write_lock_and_a_reading_one_without(tmp_path: Path) -> None:
    Registry(tmp_path / "registry.db").record(conversion())
    registry = Registry(tmp_path / "registry.db")
    statements = traced(registry)
    registry.list()
    registry.show(folder().digest)
    begun = [statement for statement in statements if statement.startswith("BEGIN")]
    assert set(begun) == {"BEGIN"}
    statements.clear()
    registry.record(conversion("other"))
    writes = [n for n, statement in enumerate(statements) if statement.startswith(("INSERT", "UPDATE"))]
    last_begin = max(n for n, statement in enumerate(statements) if statement.startswith("BEGIN"))
    assert statements[last_begin] == "BEGIN IMMEDIATE"
    assert last_begin < min(writes)
    assert statements[-1] == "COMMIT"


def test_a_reading_unit_sees_one_state_and_can_write_nothing_to_a_server(postgresql: str) -> None:
    with Registry(postgresql) as registry:
        with registry._database.reading() as connection:
            before = connection.exec_driver_sql("SELECT count(*) FROM run").scalar_one()
            registry.record(conversion(f"seen by none {before}"))
            assert connection.exec_driver_sql("SELECT count(*) FROM run").scalar_one() == before
        with pytest.raises(RegistryReadOnly), registry._database.reading() as connection:
            connection.exec_driver_sql("DELETE FROM alias_event")


def test_a_file_leaves_a_journal_that_this_sqlite_is_not_trusted_with(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry(path).record(conversion())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
    assert len(Registry(path).list()) == 1
    Registry(path).record(conversion("other"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (
            journal_mode(sqlite3.sqlite_version_info),
        )


def test_a_list_is_one_statement_however_long(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.db")
    for n in range(5):
        registry.record(conversion(f"m{n}"), verification(f"m{n}", "PASSED"))
    statements = traced(registry)
    registry.list()
    schema = [
        s for s in statements if "alembic_version" in s or s.startswith(("PRAGMA", "BEGIN", "ROLLBACK"))
    ]
    assert len([s for s in statements if s not in schema and s != "COMMIT"]) == 1


def test_foreign_keys_and_full_synchronous_are_in_force(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.db")
    registry.record(conversion())
    with registry._database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000


def test_the_file_is_its_owners_only_and_so_is_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "registry.db"
    Registry(path).record(conversion())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?.db", "#1.db", "ü.db", "file:x"])
def test_a_path_may_be_spelled_in_any_way(tmp_path: Path, name: str) -> None:
    Registry(tmp_path / name).record(conversion())
    assert len(Registry(tmp_path / name).list()) == 1
    assert name in {path.name for path in tmp_path.iterdir()}


def test_a_url_and_a_path_are_the_same_file(tmp_path: Path) -> None:
    Registry(f"sqlite:///{tmp_path}/registry.db").record(conversion())
    assert len(Registry(tmp_path / "registry.db").list()) == 1


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "nonsense://", "a://b c"])
def test_a_database_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(RegistryUnreachable):
        Registry(url)


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("these are notes, long enough to have a first page\n" * 100)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    for path in (text, other):
        before = path.read_bytes()
        for attempt in (Registry(path).list, lambda path=path: Registry(path).record(conversion())):
            with pytest.raises(NotARegistry, match=path.name):
                attempt()
        assert path.read_bytes() == before


def test_a_newer_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry(path).record(conversion())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    for attempt in (Registry(path).list, lambda: Registry(path).record(conversion())):
        with pytest.raises(RegistryNewer, match="9999"):
            attempt()


def test_a_lock_that_is_never_given_back_is_named(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry(path).record(conversion())
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryLocked, match="another process"):
            Registry(path, timeout_s=0.1).record(conversion("other"))
        assert len(Registry(path, timeout_s=0.1).list()) == 1
        holder.execute("ROLLBACK")
    assert len(Registry(path).list()) == 1


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry(path).record(conversion())
    content = bytearray(path.read_bytes())
    content[4096:] = random.Random(0).randbytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises((NotARegistry, RegistryError)):
        Registry(path).list()


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryUnreachable, match="file"):
        Registry(tmp_path / "file" / "registry.db").record(conversion())


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "delete"), ((3, 51, 2), "delete"), ((3, 51, 3), "wal"), ((3, 53, 4), "wal"),
        ((3, 52, 0), "delete"), ((3, 50, 6), "delete"), ((3, 50, 7), "wal"), ((3, 51, 0), "delete"),
        ((3, 44, 5), "delete"), ((3, 44, 6), "wal"), ((3, 45, 0), "delete"),
    ],
)  # fmt: skip
def test_wal_is_for_versions_that_do_not_lose_transactions(version: tuple[int, ...], mode: str) -> None:
    assert journal_mode(version) == mode


def test_a_new_file_has_the_journal_that_this_sqlite_is_trusted_with(tmp_path: Path) -> None:
    Registry(tmp_path / "registry.db").record(conversion())
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (
            journal_mode(sqlite3.sqlite_version_info),
        )


def write(url: str, process: int, writes: int) -> None:
    """Record one process's runs; every other run is recorded by all processes."""
    with Registry(url) as registry:
        for n in range(writes):
            name = f"p{process}-{n}" if n % 2 else f"shared-{n}"
            run = conversion(name, at=START + timedelta(seconds=n))
            registry.record(run, names={"model": folder(name).digest})


def write_at_once(url: str, processes: int, writes: int) -> None:
    """Start the processes, on SQLite without a file yet, and check that nothing is lost or duplicated."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        for done in [pool.submit(write, url, process, writes) for process in range(processes)]:
            done.result()
    expected = {f"p{p}-{n}" for p in range(processes) for n in range(1, writes, 2)}
    expected |= {f"shared-{n}" for n in range(0, writes, 2)}
    with Registry(url) as registry:
        found = registry.list(limit=None)
        runs = registry.history(limit=None)
    assert sorted(row.digest for row in found) == sorted(folder(name).digest for name in expected)
    assert len(runs) == len(expected)
    if "://" not in url:
        with closing(sqlite3.connect(url)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_processes_write_at_once_and_lose_nothing(registry_url: str) -> None:
    write_at_once(registry_url, processes=3, writes=10)


@pytest.mark.slow
def test_sixteen_processes_write_five_hundred_runs_each(registry_url: str) -> None:
    write_at_once(registry_url, processes=16, writes=500)


def kill_a_writer(path: Path, first: int, after_s: float) -> list[int]:
    """Start a writer, kill it some time after its first acknowledgement; return what it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    told = [child.stdout.readline()]
    time.sleep(after_s)
    child.kill()
    told += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    return [int(line) for line in told if line.endswith("\n")]


def kills(path: Path, times: int) -> None:
    chance, acknowledged = random.Random(0), list[int]()
    for kill in range(times):
        acknowledged += kill_a_writer(path, kill * 10_000, chance.uniform(0, 0.1))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = {row.digest for row in Registry(path).list(limit=None)}
    assert len(acknowledged) >= times
    assert {folder(f"m{n}").digest for n in acknowledged} <= found


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    kills(tmp_path / "registry.db", times=2)


@pytest.mark.slow
def test_two_hundred_killed_writers_lose_nothing_that_they_acknowledged(tmp_path: Path) -> None:
    kills(tmp_path / "registry.db", times=200)
