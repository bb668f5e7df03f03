"""`registry.db.example`: reproducible, small, and worth looking at."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from llorch.commands.registry.command import main as main_command
from llorch.registry import Filter, Registry
from llorch.registry.database.schema import metadata
from llorch.registry.digests import HashedFile, tree1
from llorch.registry.example import main
from llorch.registry.export.drawing import as_svg
from llorch.registry.records.answers import ArtifactAnswer
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "registry.db.example"


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_the_example_is_what_its_program_makes(tmp_path: Path) -> None:
    main(tmp_path / "again.db")
    assert dump(tmp_path / "again.db") == dump(EXAMPLE)


def test_the_example_is_small() -> None:
    assert EXAMPLE.stat().st_size < 200_000


def test_the_example_has_the_four_families_and_every_verdict() -> None:
    rows = Registry(EXAMPLE).list()
    assert {name.split("-")[0].rstrip(".0123456789") for row in rows for name in row.names} == {
        "llama", "mistral", "phi", "qwen"
    }  # fmt: skip
    assert {row.verified for row in rows} == {"PASSED", "FAILED", "INCOMPLETE", None}


def test_the_examples_trees_are_those_of_their_files() -> None:
    registry = Registry(EXAMPLE)
    for row in registry.list(Filter(kind="hf-folder")):
        found = registry.show(row.digest)
        assert isinstance(found, ArtifactAnswer)
        assert (
            tree1(HashedFile(file.path, file.sha256, file.size_bytes) for file in found.files) == row.digest
        )
        assert sum(file.size_bytes for file in found.files) == row.size_bytes


def test_looking_at_the_example_does_not_change_it() -> None:
    before = EXAMPLE.read_bytes()
    Registry(EXAMPLE).list()
    assert EXAMPLE.read_bytes() == before


def test_the_picture_in_the_docs_is_drawn_by_the_command() -> None:
    page = (REPOSITORY / "docs" / "registry.md").read_text()
    [reference] = re.findall(r"llorch-registry lineage (\S+) --registry registry.db.example --svg", page)
    lineage = Registry(EXAMPLE).lineage(reference)
    assert [run.kind for run in lineage.runs] == ["fetch", "convert", "verify", "verify", "convert"]
    assert as_svg(lineage) == (REPOSITORY / "docs" / "lineage.svg").read_text()


def test_the_page_has_every_command_and_every_table() -> None:
    page = (REPOSITORY / "docs" / "registry.md").read_text()
    assert set(re.findall(r"^\| `([a-z]+)[ `]", page, re.MULTILINE)) >= set(main_command.commands)
    assert all(f"| `{table}` |" in page for table in metadata.tables)
