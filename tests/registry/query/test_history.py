"""Runs that are running, end, fail and die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llorch.registry import Registry
from llorch.registry.errors import ConflictingRecord
from llorch.registry.records.answers import RunAnswer
from llorch.registry.records.processes import Process, current_status, is_alive, this_process
from llorch.registry.records.records import RunRecord, SourceRecord
from tests.registry.invented import START, conversion, folder, gguf, uid, verification

HERE = socket.gethostname()


def begun(process: Process | None, host: str = HERE, at: datetime = START) -> RunRecord:
    """A conversion that has only begun, without known inputs or outputs."""
    return replace(
        conversion(at=at),
        status="running",
        finished_at=None,
        exit_code=None,
        edges=[],
        host=host,
        process=process,
    )


def status(registry: Registry) -> list[str]:
    return [row.status for row in registry.history()]


def test_runs_are_told_the_latest_first_with_what_went_in_and_came_out(registry: Registry) -> None:
    later = START + timedelta(hours=1)
    registry.record(conversion(), verification("tiny", "PASSED", at=later), conversion("other"))
    rows = registry.history()
    assert rows[0].uid == uid("verify tiny", later)
    assert (rows[0].inputs, rows[0].outputs) == ([folder().digest], [])
    mine = registry.history(folder().digest, kind="convert")
    assert [(row.inputs, row.outputs) for row in mine] == [([gguf().digest], [folder().digest])]
    assert len(registry.history(limit=1)) == 1


def test_a_run_that_failed_says_why(registry: Registry) -> None:
    failed = replace(conversion(), status="failed", error="tensor 'a' is cut short", exit_code=3)
    registry.record(replace(failed, edges=failed.edges[:1]))
    [row] = registry.history()
    assert (row.status, row.error, row.outputs) == ("failed", "tensor 'a' is cut short", [])
    assert registry.list() == []


def test_a_run_that_ends_is_the_one_that_began(registry: Registry) -> None:
    registry.record(begun(this_process()))
    assert status(registry) == ["running"]
    registry.record(conversion(host=HERE))
    assert status(registry) == ["succeeded"]
    assert len(registry.list()) == 1
    registry.record(begun(this_process()))
    assert status(registry) == ["succeeded"]
    with pytest.raises(ConflictingRecord, match="status"):
        registry.record(replace(conversion(), status="failed"))


def test_a_run_whose_process_was_killed_has_died(registry: Registry) -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from llorch.registry.records.processes import *; print(this_process(), flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    process = eval(child.stdout.readline())
    registry.record(begun(process))
    assert status(registry) == ["running"]
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie: signals still find it
    assert status(registry) == ["died"]
    child.communicate()
    assert status(registry) == ["died"]
    answer = registry.show(conversion().uid)
    assert isinstance(answer, RunAnswer)
    assert answer.status == "died"


def test_a_process_id_that_was_given_again_is_another_process() -> None:
    mine = this_process()
    assert mine is not None
    assert is_alive(mine) is True
    assert is_alive(replace(mine, start=mine.start + 1)) is False
    assert is_alive(replace(mine, boot_id="another boot")) is False
    assert is_alive(replace(mine, pid=2**22 + 1)) is False


@pytest.mark.parametrize(("hours", "shown"), [(1, "running"), (25, "running?")])
def test_of_a_run_on_another_machine_nobody_says_that_it_died(hours: int, shown: str) -> None:
    process = Process("another boot", 1, 1)
    now = START + timedelta(hours=hours)
    assert current_status("running", "there", process, START, now, this_host="here") == shown
    assert current_status("running", "here", process, START, now, this_host="here") == "died"
    assert current_status("running", "here", None, START, now, this_host="here") == shown
    assert current_status("failed", "here", process, START, now, this_host="here") == "failed"


def test_a_source_comes_back_as_it_was_told(registry: Registry) -> None:
    file = gguf()
    came = SourceRecord(
        "hub",
        "owner/name",
        "tiny.gguf",
        file.digest,
        "main",
        "a" * 40,
        '"etag"',
        "git-sha1",
        file.digest,
        file.digest,
        1000,
    )
    fetched = replace(
        conversion(), kind="fetch", edges=[replace(conversion().edges[0], role="output")], sources=[came]
    )
    registry.record(fetched)
    answer = registry.show(fetched.uid)
    assert isinstance(answer, RunAnswer)
    assert list(answer.sources) == [came]


def test_times_of_a_run_that_goes_on_are_in_its_json(registry: Registry) -> None:
    registry.record(begun(None, host="there", at=datetime.now(UTC)))
    [row] = registry.history()
    assert (row.to_json()["finished_at"], row.to_json()["status"]) == (None, "running")
