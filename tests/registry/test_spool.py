"""Notes of runs: complete or absent, imported once, and no obstacle to anything."""

from __future__ import annotations

import json
import stat
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from llorch.registry import Registry, RunRecord, Spool
from llorch.registry.errors import RegistryLocked
from llorch.registry.records.answers import as_json
from llorch.registry.records.processes import Process
from llorch.registry.spool import run_from_json
from tests.registry.invented import START, conversion, verification

PROCESS = Process("a boot", 7, 8)


def begun(name: str = "tiny") -> RunRecord:
    """A conversion that has only begun."""
    told = conversion(name)
    return replace(told, status="running", finished_at=None, exit_code=None, edges=(), process=PROCESS)


def failed(name: str = "tiny") -> RunRecord:
    """The same conversion, which then failed."""
    ended = START + timedelta(seconds=1)
    return replace(
        begun(name), status="failed", finished_at=ended, error="is cut short", exit_code=3, process=None
    )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "registry.db.runs")


def facts(*runs: RunRecord, beside: Path) -> list[bytes]:
    """Return the contents of a registry in which runs were recorded without notes."""
    direct = Registry(beside / "direct.db")
    direct.record(*runs)
    return list(direct.facts().lines())


def statuses(registry: Registry) -> list[str]:
    return [row.status for row in registry.history()]


@pytest.mark.parametrize("run", [begun(), failed()], ids=["running", "failed"])
def test_a_note_tells_the_run_as_it_was_told(
    registry: Registry, spool: Spool, run: RunRecord, tmp_path: Path
) -> None:
    spool.note(run)
    spool.take_in(registry)
    assert list(registry.facts().lines()) == facts(run, beside=tmp_path)
    assert not spool.is_there


def test_a_run_that_failed_is_no_longer_running_whichever_note_is_read_first(
    registry: Registry, spool: Spool
) -> None:
    spool.note(begun())
    spool.take_in(registry)
    spool.note(failed())
    spool.take_in(registry)
    assert statuses(registry) == ["failed"]
    spool.note(begun())
    spool.take_in(registry)
    assert statuses(registry) == ["failed"]


def test_what_ended_well_is_not_unmade_by_a_late_note(registry: Registry, spool: Spool) -> None:
    """The process was stopped after its run was recorded, before it removed its note."""
    registry.record(conversion())
    spool.note(begun())
    spool.note(failed())
    spool.note(failed("other"))
    spool.take_in(registry)
    assert sorted(statuses(registry)) == ["failed", "succeeded"]
    assert not spool.is_there


def test_a_run_that_began_by_a_note_ends_as_one_run_with_what_it_really_used(
    registry: Registry, spool: Spool, tmp_path: Path
) -> None:
    asked = replace(begun(), params={"source": "/models/tiny.gguf"})
    spool.note(asked)
    spool.take_in(registry)
    registry.record(conversion())
    assert list(registry.facts().lines()) == facts(conversion(), beside=tmp_path)


def test_nothing_is_left_of_a_note_that_is_taken_back(spool: Spool) -> None:
    spool.note(begun())
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    spool.forget(begun().uid)
    spool.forget(begun().uid)
    assert not spool.folder.exists()


def test_the_note_of_a_failure_stays_when_that_of_the_run_goes(registry: Registry, spool: Spool) -> None:
    spool.note(begun())
    spool.note(failed())
    spool.forget(begun().uid)
    spool.take_in(registry)
    assert statuses(registry) == ["failed"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"uid": 3}'])
def test_a_note_that_says_nothing_goes_and_files_of_others_stay(
    registry: Registry, spool: Spool, content: bytes
) -> None:
    spool.note(failed())
    (spool.folder / f"{conversion('odd').uid}.failed.json").write_bytes(content)
    (spool.folder / "mine.json").touch()
    spool.take_in(registry)
    assert statuses(registry) == ["failed"]
    assert [path.name for path in spool.folder.iterdir()] == ["mine.json"]


def test_notes_stay_while_the_registry_is_held_by_another(spool: Spool, tmp_path: Path) -> None:
    Registry(tmp_path / "registry.db").record(verification())
    spool.note(failed())
    with (
        Registry(tmp_path / "registry.db") as holder,
        holder._database.writing(),
        pytest.raises(RegistryLocked),
    ):
        spool.take_in(Registry(tmp_path / "registry.db", timeout_s=0.05))
    assert spool.is_there
    spool.take_in(Registry(tmp_path / "registry.db"))
    assert sorted(statuses(Registry(tmp_path / "registry.db"))) == ["failed", "succeeded"]


def test_many_who_note_and_take_in_at_once_lose_nothing(tmp_path: Path) -> None:
    """The empty folder is removed and created again all the time."""
    spool, names = Spool(tmp_path / "registry.db.runs"), [f"m{n}" for n in range(60)]

    def write(share: list[str]) -> None:
        for name in share:
            spool.note(begun(name))
            spool.note(failed(name))
            spool.forget(begun(name).uid)

    writers = [threading.Thread(target=write, args=(names[n::3],)) for n in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        spool.take_in(Registry(tmp_path / "registry.db"))
    spool.take_in(Registry(tmp_path / "registry.db"))
    found = Registry(tmp_path / "registry.db").history(limit=None)
    assert sorted((row.uid, row.status) for row in found) == sorted(
        (conversion(name).uid, "failed") for name in names
    )
    assert not spool.is_there


def test_a_note_of_a_newer_program_is_read_for_what_is_known() -> None:
    document = json.loads(json.dumps(as_json(failed()))) | {"colour": "green"}
    assert run_from_json(document) == failed()
