"""The schema: its revisions create the same as its definition, and an upgrade is complete or not done."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect

from llorch import registry
from llorch.registry import Registry
from llorch.registry.database import upgrade as upgrading
from llorch.registry.database.schema import metadata
from llorch.registry.database.upgrade import COPIES_KEPT, HEAD, REVISIONS, copy_database, migrate
from llorch.registry.errors import RegistryError, RegistryOlder
from tests.registry.invented import conversion


def test_the_constant_names_the_revisions_that_there_are() -> None:
    folder = Path(upgrading.__file__).parent / "migrations"
    script = ScriptDirectory(str(folder))
    assert tuple(reversed([revision.revision for revision in script.walk_revisions()])) == REVISIONS
    assert script.get_current_head() == HEAD


def test_the_revisions_lead_to_the_tables_that_are_defined(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.db")
    assert registry.migrate() == (None, HEAD)
    assert registry.migrate() == (HEAD, HEAD)
    with registry._database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def described(url: str) -> dict[str, Any]:
    """Return every table's columns, keys, indexes and constraints, by name."""
    found = inspect(create_engine(url))
    return {
        name: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"])
                for column in found.get_columns(name)
            },
            "primary key": found.get_pk_constraint(name),
            "foreign keys": sorted(map(repr, found.get_foreign_keys(name))),
            "unique": sorted(map(repr, found.get_unique_constraints(name))),
            "indexes": sorted(map(repr, found.get_indexes(name))),
            "conditions": sorted(map(repr, found.get_check_constraints(name))),
        }
        for name in found.get_table_names()
        if name != "alembic_version"
    }


def test_revisions_and_definition_agree_on_keys_indexes_and_conditions(tmp_path: Path) -> None:
    Registry(tmp_path / "migrated.db").migrate()
    metadata.create_all(create_engine(f"sqlite:///{tmp_path}/created.db"))
    migrated, created = (described(f"sqlite:///{tmp_path}/{name}.db") for name in ("migrated", "created"))
    assert migrated == created


def test_alembic_is_imported_only_when_the_schema_differs(tmp_path: Path) -> None:
    Registry(tmp_path / "registry.db").record(conversion())
    program = (
        "import sys; from llorch.registry import Registry; from tests.registry.invented import conversion\n"
        f"registry = Registry({str(tmp_path / 'registry.db')!r})\n"
        "registry.record(conversion('other')); registry.list(); registry.show(conversion().uid)\n"
        "print(sorted(sys.modules.keys() & {'alembic', 'sqlalchemy.orm', 'torch', 'numpy', 'rich'}))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_importing_the_room_imports_no_database(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from llorch.registry import digests, query, records; from llorch.registry.database import location\n"
        "print(sorted(sys.modules.keys() & {'sqlalchemy', 'sqlite3', 'platformdirs'}))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_the_face_is_these_names_and_each_is_there() -> None:
    assert set(registry.__all__) >= {
        "ArtifactRecord", "CheckRecord", "EdgeRecord", "FileRecord", "Filter", "Location", "Process", "Registry",
        "RunRecord", "SourceRecord", "Spool", "TensorRecord", "locate", "name_from", "parse_alias", "this_process",
        "time_of", "uuid7", "uuid7_at",
    }  # fmt: skip
    assert all(getattr(registry, name) is not None for name in registry.__all__)
    with pytest.raises(AttributeError, match="Nobody"):
        registry.Nobody  # noqa: B018


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "registry.db")
    registry.record(conversion())
    before = dump(tmp_path / "registry.db")
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
        connection.commit()
    monkeypatch.setattr(upgrading, "REVISIONS", ("0000", *REVISIONS))
    monkeypatch.setattr(
        upgrading, "run_revisions", lambda connection: connection.exec_driver_sql("DROP TABLE file")
    )
    with pytest.raises(RegistryError, match="lose rows of file"):
        Registry(tmp_path / "registry.db").list()
    assert dump(tmp_path / "registry.db").replace("'0000'", f"'{HEAD}'") == before
    assert len(list(tmp_path.glob("registry.db.bak-0000-*"))) == 1


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


def test_a_copy_holds_everything_and_three_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry(path).record(conversion())
    copies = [copy_database(path, "0001") for _ in range(COPIES_KEPT + 2)]
    assert dump(copies[-1]) == dump(path)
    assert sorted(tmp_path.glob("registry.db.bak-*")) == copies[-COPIES_KEPT:]
    assert {copy.stat().st_mode & 0o777 for copy in copies[-COPIES_KEPT:]} == {0o600}


def test_an_upgrade_runs_with_foreign_keys_off_and_the_next_unit_with_them_on(tmp_path: Path) -> None:
    """With foreign keys on, SQLite would delete child rows when a batch migration drops the parent table."""
    registry = Registry(tmp_path / "registry.db")
    seen: list[int] = []
    event.listen(
        registry._database.engine,
        "begin",
        lambda connection: seen.append(connection.exec_driver_sql("PRAGMA foreign_keys").scalar()),
    )
    migrate(registry._database)
    registry.list()
    assert (seen[0], seen[-1]) == (0, 1)


def test_a_registry_of_every_older_schema_keeps_its_rows(tmp_path: Path) -> None:
    for version in REVISIONS[:-1]:
        path = tmp_path / f"{version}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript((Path(__file__).parents[1] / f"schema_{version}.sql").read_text())
        before = rows(path)
        registry = Registry(path)
        assert len(registry.list()) == 6
        after = rows(path)
        assert {name: after[name] for name in before} == before
        registry.record(conversion("new"))
        assert len(registry.list()) == 7
        assert registry.history()[-1].status == "succeeded"
        [copy] = tmp_path.glob(f"{version}.db.bak-{version}-*")
        assert rows(copy) == before


def rows(path: Path) -> dict[str, int]:
    """Return the number of rows of each table."""
    with closing(sqlite3.connect(path)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


UPGRADER = """
import sys
from llorch.registry import Registry
from llorch.registry.database import upgrade
run = upgrade.run_revisions
def slowly(connection):
    run(connection)
    print("upgraded", flush=True)
    sys.stdin.read()
upgrade.run_revisions = slowly
Registry(sys.argv[1]).list()
"""


def test_a_killed_upgrade_never_was(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parents[1] / "schema_0001.sql").read_text())
    before = dump(path)
    child = subprocess.Popen(
        [sys.executable, "-c", UPGRADER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "upgraded\n"
    child.kill()
    child.communicate()
    assert dump(path) == before
    assert len(Registry(path).list()) == 6


def test_a_server_is_upgraded_by_hand_only(postgresql: str) -> None:
    from sqlalchemy import text

    registry = Registry(postgresql)
    with registry._database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        for attempt in (registry.list, lambda: registry.record(conversion())):
            with pytest.raises(RegistryOlder, match="llorch-registry migrate"):
                attempt()
    finally:
        with registry._database.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": HEAD})
    assert registry.migrate() == (HEAD, HEAD)
