"""A registry for a test: in an SQLite file, and again on a real PostgreSQL server if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from llorch.registry import Registry
from llorch.registry.database.schema import metadata
from tests.registry.postgresql import server

settings.register_profile("unhurried", deadline=None)  # how long an example takes says nothing about a law
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server's database that has the tables."""
    with server() as url:
        with Registry(url) as registry:
            registry.migrate()
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The location of an empty registry of either kind; an SQLite file does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "registry.db")
    url: str = request.getfixturevalue("postgresql")
    with Registry(url) as registry, registry._database.writing() as connection:
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        connection.exec_driver_sql(f"TRUNCATE {names}")
    return url


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    """The registry itself."""
    with Registry(registry_url) as opened:
        yield opened
