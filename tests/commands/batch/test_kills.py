"""A batch killed with -9 at any moment still ends: every task once, no partial folder, no claim left."""

from __future__ import annotations

import random
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from llorch.fleet import STATE, BatchFolder, read_plan
from llorch.registry import Registry
from tests.commands.batch.conftest import Planned, require_ended_once, trees
from tests.commands.batch.nodes import ended, kill_node, node, workers_of
from tests.registry.postgresql import server

LEASE_S = "2"


def kill_a_worker(process: subprocess.Popen[str]) -> bool:
    """Kill a worker; return whether there was one."""
    for worker in workers_of(process):
        with suppress(psutil.Error):
            worker.kill()
            return True
    return False


def kill_the_driver(process: subprocess.Popen[str]) -> None:
    """Kill only the driver; its workers are left without it."""
    process.kill()
    process.communicate()


def cut_connections(url: str) -> None:
    """Close every connection to the team's database at once, as a server restart does."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        )
    engine.dispose()


def await_progress(batch: BatchFolder, finished: int) -> None:
    """Wait until more tasks have a receipt; not for long, so that nodes that are starting are hit too."""
    for _ in range(50):
        if len(batch.finished()) > finished:
            return
        time.sleep(0.05)


def carried_through(plan: Path, out: Path, url: str, kills: int, seed: int) -> dict[str, int]:
    """Run two nodes while something is killed from time to time; return how often each was killed."""
    drawn, killed = random.Random(seed), {"worker": 0, "driver": 0, "node": 0, "connection": 0}
    more = ("--registry", url, "--lease", LEASE_S, "--retries", "20")
    nodes = {name: node(plan, out, name, *more) for name in ("one", "two")}
    batch, tasks = BatchFolder(out / STATE), len(read_plan(plan).tasks)
    while sum(killed.values()) < kills and (finished := len(batch.finished())) < tasks:
        await_progress(batch, finished)  # a pause in seconds alone would see a fast machine done first
        time.sleep(drawn.uniform(0, 0.2))
        name, what = drawn.choice(sorted(nodes)), drawn.choice(sorted(killed))
        if nodes[name].poll() is not None:
            nodes[name] = node(plan, out, name, *more)
        elif what == "worker":
            killed[what] += kill_a_worker(nodes[name])
        elif what == "connection":
            cut_connections(url)
            killed[what] += 1
        else:
            (kill_the_driver if what == "driver" else kill_node)(nodes[name])
            killed[what] += 1
            nodes[name] = node(plan, out, name, *more)
    for process in nodes.values():
        status, said = ended(process)
        assert status in (0, 4), said
    status, said = ended(node(plan, out, "last", *more))
    assert status == 0, said
    return killed


@pytest.mark.slow
def test_fifty_kills_of_workers_drivers_nodes_and_connections(planned: Planned, alone: Path) -> None:
    plan, total = planned(60), 0
    with server() as url:
        with Registry(url) as team:
            team.migrate()
        for round_number in range(1, 12):
            out = alone / f"out{round_number}"
            killed = carried_through(plan, out, url, 50 - total, seed=round_number)
            total += sum(killed.values())
            print(f"round {round_number}: {killed}")
            assert set(require_ended_once(plan, out).values()) == {"converted"}
            if total >= 50:
                break
        assert total >= 50
        whole = alone / "whole"
        assert ended(node(plan, whole, "whole", "--registry", url))[0] == 0
        assert trees(out) == trees(whole)
        with Registry(url) as team:
            names = {name for row in team.list(limit=None) for name in row.names}
        assert names == {f"m{number:03}@latest" for number in range(60)}


def test_a_worker_and_a_driver_that_are_killed_cost_nothing_but_time(planned: Planned, alone: Path) -> None:
    plan, out = planned(6), alone / "out"
    process = node(plan, out, "one", "--lease", LEASE_S)
    deadline = time.monotonic() + 60
    while not kill_a_worker(process):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    while not BatchFolder(out / STATE).finished():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kill_the_driver(process)
    status, said = ended(node(plan, out, "two", "--lease", LEASE_S))
    assert status == 0, said
    assert set(require_ended_once(plan, out).values()) == {"converted"}
