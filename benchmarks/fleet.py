"""Measures the overhead of a batch, the gain by shards, and simulates ten thousand models on fifty nodes.

    python -m benchmarks.fleet overhead MODEL.gguf --tasks 8     # a warm pool against the same calls in a loop
    python -m benchmarks.fleet shards MODEL.gguf --tasks 24      # four drivers against one
    python -m benchmarks.fleet costs MODEL.gguf …                # of a conversion, for commands/batch/estimates.py
    python -m benchmarks.fleet simulate                          # seeded event simulation, and the plan's prediction

Outputs are written to a folder in --folder, which needs room for a whole run, and removed. Prints tables for
docs/fleet.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from llorch.base.version import __version__
from llorch.commands.batch.estimates import needs_of
from llorch.commands.batch.running import RUN_TASK
from llorch.commands.batch.task import run_task
from llorch.converter import ConvertOptions
from llorch.fleet import (
    STATE,
    BatchFolder,
    Cluster,
    Driver,
    EngineOptions,
    LocalEngine,
    Needs,
    Plan,
    Settings,
    SimulationResult,
    Task,
    plan_bytes,
    simulate,
    tasks_of_shard,
)
from llorch.fleet.shard import Shard
from llorch.registry import sha256_of

SEED = 26
MODELS, NODES, CORES = 10_000, 50, 16
MEMORY, DISK = 64 * 10**9, 10**12


@dataclass(frozen=True)
class Kind:
    """Models of one size. share: of all models. gb: of the GGUF file. times: size of the folder divided by that."""

    name: str
    share: float
    gb: float
    times: float


# Sizes of files at some 4.85 bits per weight (Q4_K_M), folders in bfloat16; the shares are an assumption.
KINDS = (
    Kind("0.3B", 0.10, 0.25, 2.2),
    Kind("1.5B", 0.25, 1.0, 3.1),
    Kind("3B", 0.20, 2.0, 3.2),
    Kind("8B", 0.30, 4.9, 3.3),
    Kind("14B", 0.10, 9.0, 3.3),
    Kind("32B", 0.04, 19.9, 3.3),
    Kind("70B", 0.01, 42.5, 3.3),
)
SPREAD = 0.15  # standard deviation of the logarithm of a task's time divided by its estimate
# Share of tasks that take this many times longer: an assumption, as with a busy disk or network.
STRAGGLERS, SLOWER = 0.02, 3.0
DEATHS = 0.01  # share of tasks whose worker or node dies at a random time, and that are started again


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["overhead", "shards", "costs", "simulate"])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--drivers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    if given.what == "simulate":
        print_simulation()
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        os.environ["LLORCH_REGISTRY"] = str(Path(folder) / "team.db")
        if given.what == "shards":
            shards(given.models, given.tasks, Path(folder), given.drivers)
        else:
            {"overhead": overhead, "costs": costs}[given.what](given.models, given.tasks, Path(folder))


def tasks_of(model: Path, count: int) -> list[Task]:
    """Return `count` tasks that convert the same model, each to its own folder."""
    identity = f"sha256:{sha256_of(model)}"
    needs = Needs(disk_bytes=1, memory_bytes=1, seconds=1.0)
    return [
        Task(
            hashlib.sha256(f"{number}".encode()).hexdigest(),
            str(model.absolute()), identity, f"t{number:04}", model.stat().st_size, 0, needs,
        )
        for number in range(count)
    ]  # fmt: skip


def fields_of(folder: Path) -> dict[str, object]:
    """Return the fields of a task's payload besides the task itself."""
    (folder / "registries").mkdir(exist_ok=True)
    return {
        "options": ConvertOptions().to_json(),
        "level": "none",
        "out": str(folder),
        "scratch": str(folder / "scratch"),
        "registries": str(folder / "registries"),
        "node": "bench",
    }


def time_loop(tasks: Sequence[Task], folder: Path) -> Iterator[float]:
    """Yield the seconds of each task when called in a loop in a warm process: fetch, conversion, recording."""
    fields = fields_of(folder)
    for task in tasks:
        began = time.perf_counter()
        outcome = run_task({**fields, "task": {"key": task.key, "source": task.source, "identity": task.identity,
                                               "output": task.output}})  # fmt: skip
        assert outcome["status"] == "converted", outcome
        yield time.perf_counter() - began
        shutil.rmtree(folder / task.output)


def time_batch(tasks: Sequence[Task], folder: Path) -> Iterator[tuple[float, float]]:
    """Run tasks in a warm pool of one worker; yield (seconds since the previous end, seconds of its own work).

    The first task is left out.
    """
    ends: list[tuple[float, float, float]] = []

    def on_end(task: Task, receipt: Mapping[str, Any]) -> None:
        end = time.perf_counter()
        shutil.rmtree(folder / task.output)  # as `time_loop` does between two tasks
        ends.append((end, time.perf_counter(), sum(receipt["seconds"].values())))

    with LocalEngine(EngineOptions(RUN_TASK, 1)) as engine:
        Driver(
            tasks,
            BatchFolder(folder / STATE),
            engine,
            None,
            Settings(),
            task_fields=fields_of(folder),
            on_end=on_end,
        ).run()
    yield from ((end - before, own) for (_, before, _), (end, _, own) in pairwise(ends))


def overhead(models: Sequence[Path], count: int, folder: Path) -> None:
    """Print the medians of a task in a loop and in a pool, and their difference."""
    tasks = tasks_of(models[0], count + 1)
    (folder / "loop").mkdir()
    (folder / "batch").mkdir()
    loop = statistics.median(list(time_loop(tasks, folder / "loop"))[1:])
    found = list(time_batch(tasks, folder / "batch"))
    batch = statistics.median(whole for whole, _ in found)
    beside = statistics.median(whole - own for whole, own in found)
    print(
        f"a task called in a loop {loop:.3f} s, in a warm pool {batch:.3f} s: {100 * (batch / loop - 1):+.1f} %"
    )
    print(f"of which {1000 * beside:.1f} ms are beside its own work, {100 * beside / loop:.2f} % of it")


def shards(models: Sequence[Path], count: int, folder: Path, drivers: Sequence[int]) -> None:
    """Measure numbers of drivers with one worker and one shard each, from the first start to the last end."""
    tasks = tasks_of(models[0], count)
    plan = folder / "plan.jsonl"
    plan.write_bytes(plan_bytes(Plan(ConvertOptions().to_json(), {"llorch": __version__}, "none", tasks)))
    for number in drivers:
        out = folder / f"out{number}"
        began = time.perf_counter()
        words = [
            sys.executable,
            "-m",
            "llorch.commands.batch",
            "run",
            str(plan),
            "--out",
            str(out),
            "--workers",
            "1",
        ]
        running = [
            subprocess.Popen(
                [*words, "--shard", f"{n}/{number}", "--node", f"n{n}"], stdout=subprocess.DEVNULL
            )
            for n in range(1, number + 1)
        ]
        assert [process.wait() for process in running] == [0] * number
        took = time.perf_counter() - began
        ends = sorted(path.stat().st_mtime for path in (out / STATE / "receipts").iterdir())
        # after each worker has finished its first task
        steady = (count - number) / (ends[-1] - ends[number - 1])
        shutil.rmtree(out)
        print(
            f"{count} tasks, {number} drivers of one worker: {took:.1f} s in all, then {steady:.2f} tasks/s"
        )


def costs(models: Sequence[Path], count: int, folder: Path) -> None:
    """Print the seconds of a warm conversion on one thread, and the bytes that it reads."""
    for model in models:
        out = folder / model.stem
        out.mkdir()
        took = list(time_loop(tasks_of(model, count + 1), out))[1:]
        spread = statistics.stdev(took) / statistics.mean(took) if len(took) > 1 else 0.0
        size = model.stat().st_size / 1e9
        print(f"{model.name}: {size:.3f} GB read, {statistics.median(took):.2f} s, spread {spread:.3f}")


def print_simulation() -> None:
    """Print the plan's prediction, and a simulation with spread, stragglers and deaths."""
    drawn = random.Random(SEED)
    tasks = []
    for number, kind in enumerate(drawn.choices(KINDS, [kind.share for kind in KINDS], k=MODELS)):
        source = int(kind.gb * 1e9 * drawn.uniform(0.7, 1.4))
        written = int(source * kind.times)
        needs = needs_of(source, written, is_here=False, level="quick", gpus=0)
        tasks.append(Task(f"{number:064x}", "", "", f"m{number:05}", source, written, needs))
    cluster = Cluster(NODES, CORES, MEMORY, DISK)
    takes = [task.needs.seconds * factor(drawn) for task in tasks]
    rows = [
        ("predicted by the plan", simulate(tasks, cluster)),
        ("simulated", simulate(tasks, cluster, takes)),
    ]
    shard_tasks = [tasks_of_shard(tasks, Shard(n, NODES, "")) for n in range(1, NODES + 1)]
    one = replace(cluster, nodes=1)
    taken = dict(zip([task.key for task in tasks], takes, strict=True))
    shards_found = [simulate(some, one, [taken[task.key] for task in some]) for some in shard_tasks]
    size = sum(task.source_bytes for task in tasks) / 1e12
    machine = f"{CORES} cores, {MEMORY / 1e9:.0f} GB, {DISK / 1e12:.0f} TB"
    print(f"{MODELS:,} models, {size:.1f} TB, seed {SEED}; {NODES} nodes of {machine}\n")
    print("| | makespan, h | 95 % done, h | busy | disk of a node, GB | memory of a node, GB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for title, found in rows:
        print_row(title, found)
    print_row("simulated, a shard a node", slowest(shards_found, sum(takes)))


def slowest(shards_found: Sequence[SimulationResult], worked_s: float) -> SimulationResult:
    """Combine the results of nodes with separate shards into one: done when the last is."""
    last = max(found.makespan_s for found in shards_found)
    return SimulationResult(
        makespan_s=last,
        most_done_s=sorted(found.most_done_s for found in shards_found)[len(shards_found) * 95 // 100],
        busy=worked_s / (last * NODES * CORES),
        disk_bytes=max(found.disk_bytes for found in shards_found),
        memory_bytes=max(found.memory_bytes for found in shards_found),
        left=(),
    )


def print_row(title: str, found: SimulationResult) -> None:
    """Print a line of the table."""
    hours = f"{found.makespan_s / 3600:.2f} | {found.most_done_s / 3600:.2f}"
    print(
        f"| {title} | {hours} | {found.busy:.3f} | {found.disk_bytes / 1e9:.0f} | {found.memory_bytes / 1e9:.1f} |"
    )


def factor(drawn: random.Random) -> float:
    """Return a random ratio of a task's time to its estimate."""
    slower = SLOWER if drawn.random() < STRAGGLERS else 1.0
    lost = drawn.random() if drawn.random() < DEATHS else 0.0
    return slower * drawn.lognormvariate(0.0, SPREAD) + lost


if __name__ == "__main__":
    main()
