"""Whatever the engine, the same trees and the same registry."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from llorch.commands.batch.command import main
from llorch.registry import Registry
from tests.commands.batch.conftest import Planned, require_ended_once, trees
from tests.commands.batch.nodes import ended, node
from tests.commands.conftest import ROOT, invoke

MANY = 200


def known(registry: Path) -> dict[str, tuple[str, int]]:
    """Return what a registry knows of the converted folders: names, digest, and the number of conversions."""
    with Registry(registry) as store:
        return {
            row.digest: (
                ", ".join(row.names),
                sum(run.kind == "convert" for run in store.history(row.digest)),
            )
            for row in store.list(limit=None)
        }


def by_shards(plan: Path, out: Path) -> None:
    nodes = [
        node(plan, out, f"n{n}", "--shard", f"{n}/4", "--registry", str(out.with_suffix(".db")))
        for n in range(1, 5)
    ]
    assert [ended(process)[0] for process in nodes] == [0] * 4


def by_engine(plan: Path, out: Path, *more: str) -> None:
    status, said = ended(node(plan, out, "driver", "--registry", str(out.with_suffix(".db")), *more))
    assert status == 0, said


@contextmanager
def ray_cluster() -> Iterator[str]:
    """Three nodes of one processor each."""
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


@contextmanager
def dask_cluster() -> Iterator[str]:
    """A scheduler and three workers, each a process."""
    import dask
    from distributed import LocalCluster

    os.environ["PYTHONPATH"] = str(ROOT / "src")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        yield cluster.scheduler_address


def test_one_driver_and_four_shards_agree(planned: Planned, alone: Path) -> None:
    plan = planned(6)
    by_engine(plan, alone / "local")
    by_shards(plan, alone / "shards")
    assert trees(alone / "local") == trees(alone / "shards")
    assert known(alone / "local.db") == known(alone / "shards.db")
    assert set(require_ended_once(plan, alone / "shards").values()) == {"converted"}


def require(library: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def by_ray(plan: Path, out: Path) -> None:
    require("ray")
    with ray_cluster() as address:
        by_engine(plan, out, "--engine", "ray", "--address", address)


def by_dask(plan: Path, out: Path) -> None:
    require("distributed")
    with dask_cluster() as address:
        by_engine(plan, out, "--engine", "dask", "--address", address)


@pytest.mark.slow
@pytest.mark.parametrize("other", [by_shards, by_ray, by_dask], ids=["shards", "ray", "dask"])
def test_two_hundred_models_are_the_same_by_every_engine(
    other: Callable[[Path, Path], None], planned: Planned, alone: Path
) -> None:
    plan = planned(MANY)
    other(plan, alone / "other")
    by_engine(plan, alone / "local", "--workers", "2")
    assert len(trees(alone / "local")) == MANY
    assert trees(alone / "other") == trees(alone / "local")
    assert known(alone / "other.db") == known(alone / "local.db")
    assert set(require_ended_once(plan, alone / "other").values()) == {"converted"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ray", "dask"])
def test_an_engine_that_is_not_installed_is_said_by_its_extra(
    name: str, planned: Planned, alone: Path
) -> None:
    if find_spec({"ray": "ray", "dask": "distributed"}[name]) is not None:
        pytest.skip(f"{name} is installed")
    done = invoke(main, "run", planned(1), "--out", "out", "--engine", name)
    assert done.exit_code == 3
    assert f"pip install 'llorch[{name}]'" in done.stderr


def test_a_registry_merged_by_hand_is_the_teams(planned: Planned, alone: Path) -> None:
    """Nodes that share nothing: their registries are merged afterwards, in any order, twice."""
    plan = planned(4)
    for number in (1, 2):
        process = node(
            plan, alone / f"disk{number}", f"n{number}", "--shard", f"{number}/2",
            "--registry", str(alone / f"own{number}.db"),
        )  # fmt: skip
        assert ended(process)[0] == 0
    by_engine(plan, alone / "shared")
    for number in (2, 1, 2):
        merged = subprocess.run(
            [sys.executable, "-m", "llorch.commands.registry", "merge",
             alone / f"disk{number}/.batch/registries/n{number}.db", "--registry", alone / "team.db"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert merged.stdout.startswith("merged")
    assert known(alone / "team.db") == known(alone / "shared.db")
