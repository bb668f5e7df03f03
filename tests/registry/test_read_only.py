"""A read-only registry, on a disk or a server: queries are answered, a change gives a one-line error."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from llorch.registry import Registry
from llorch.registry.database.upgrade import HEAD
from tests.conftest import REPOSITORY
from tests.registry.invented import conversion, folder, gguf, verification
from tests.registry.model_folder import adopted, write_folder

Call = Callable[..., "subprocess.CompletedProcess[str]"]

QUESTIONS = (
    ("list",),
    ("show", "tiny"),
    ("path",),
    ("lineage", "tiny"),
    ("whence", "tiny.gguf"),
    ("history",),
    ("diff", "tiny", "tiny"),
    ("affected", "--builder", "llorch>9"),
    ("alias", "tiny"),
    ("export", "tiny", "--as", "slsa"),
    ("prune", "--dry-run"),
)
GRANT = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
CHANGES = (("tag", "tiny", "tiny@prod"), ("rm", "tiny"), ("merge", "other.db"), ("prune", "-y"))

# Root may read and write whatever it likes, but for these.
LIMITS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def as_reader(place: Path, *words: str, limits: Sequence[str] = LIMITS) -> subprocess.CompletedProcess[str]:
    """Run a command to which file permissions apply, even if the tests run as root."""
    return subprocess.run(
        [*limits, sys.executable, "-m", "llorch.commands.registry", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def call(registry: Registry, registry_url: str, tmp_path: Path) -> Iterator[Call]:
    """Run a command on a read-only registry in a read-only folder."""
    place = tmp_path / "place"
    model = write_folder(place / "model")
    registry.record(conversion(), verification("tiny", "PASSED"), names={"tiny": folder().digest})
    registry.record(adopted(model, socket.gethostname()))
    (place / "tiny.gguf").write_bytes(b"tiny.gguf")
    Registry(place / "other.db").record(conversion("new"), names={"new": folder("new").digest})
    limits: Sequence[str] = ()
    if "://" in registry_url:
        url = registry_url.replace("llorch@", "reader@")
        with registry._database.writing() as connection:
            for statement in ("CREATE ROLE reader LOGIN", GRANT):
                connection.exec_driver_sql(statement)
    else:
        limits = LIMITS
        url = str(place / "registry.db")
        shutil.copyfile(registry_url, url)
    for path in (*place.iterdir(), place):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield lambda *words: as_reader(place, *words, "--registry", url, limits=limits)
    if "://" in registry_url:
        with registry._database.writing() as connection:
            for statement in ("DROP OWNED BY reader", "DROP ROLE reader"):
                connection.exec_driver_sql(statement)


@pytest.mark.parametrize("words", QUESTIONS, ids=lambda words: words[0])
def test_a_question_is_answered(call: Call, words: tuple[str, ...]) -> None:
    done = call(*words)
    assert (done.returncode, done.stdout != "") == (0, words[0] != "affected"), done.stderr


def test_the_answer_is_that_of_a_registry_that_can_be_written(call: Call, registry: Registry) -> None:
    rows = json.loads(call("list", "--json").stdout)["artifacts"]
    assert rows == [row.to_json() for row in registry.list()]
    [one] = json.loads(call("whence", "tiny.gguf", "--json").stdout)["answers"]
    assert (one["known"], one["origins"][0]["digest"]) == ("artifact", gguf().digest)


@pytest.mark.parametrize("words", CHANGES, ids=lambda words: words[0])
def test_a_change_ends_with_4_and_one_line_that_says_why(
    call: Call, words: tuple[str, ...], tmp_path: Path
) -> None:
    done = call(*words, "--json")
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["error"]["reason"] == "read-only"
    assert done.stderr.startswith("llorch-registry: registry ")
    assert done.stderr.endswith((" cannot be written\n", " does not permit it\n"))
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "place" / "model" / "config.json").is_file()  # `prune` has not begun


@pytest.mark.parametrize("level", ["--quick", "--full"])
def test_what_verify_finds_is_told_though_it_cannot_be_noted(call: Call, level: str, tmp_path: Path) -> None:
    done = call("verify", level)
    outcome = {"--quick": "NOT VERIFIED", "--full": "INTACT"}[level]
    assert done.stdout == f"{tmp_path / 'place' / 'model'}\t{outcome}\t\t\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_notes_beside_it_are_in_no_questions_way(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    Registry(place / "registry.db").record(conversion())
    (place / "registry.db.runs").mkdir()
    (place / "registry.db.runs" / f"{conversion('x').uid}.running.json").write_text("{}")
    for path in (*place.iterdir(), place):
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = as_reader(place, "list", "--registry", "registry.db")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


def test_an_older_schema_that_cannot_be_upgraded_is_named_with_both_versions(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    path = place / "registry.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "schema_0001.sql").read_text())
    place.chmod(0o555)
    for mode, why in (
        (0o444, "it cannot be written"),
        (0o644, "no copy can be written beside it (Permission denied)"),
    ):
        path.chmod(mode)
        done = as_reader(place, "list", "--registry", str(path))
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr == (
            f"llorch-registry: registry {path} has schema 0001, this program needs {HEAD}, and {why}: "
            "work on a copy that can be\n"
        )
