"""Measures the start-up time of commands on one core: --help of each, and long lists.

    python -m benchmarks.startup

Each figure is a median of five runs, in wall time and CPU time. The registry of the lists is an SQLite file with 10,000
invented conversions, every fourth of them verified.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import sqlalchemy

from llorch.registry import Registry, RunRecord
from tests.registry.invented import START, conversion, folder, verification

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
RUNS, REPEATS = 10_000, 5
HELP_S, LIST_S = 0.25, 1.0  # required wall time of each

COMMANDS = ("llorch-convert", "llorch-registry", "llorch-run", "llorch-verify")
LISTS: Sequence[tuple[str, ...]] = (
    ("list",),
    ("list", "--limit", str(RUNS)),
    ("list", "--limit", str(RUNS), "--json"),
    ("list", "--sort", "size"),
    ("history", "--limit", str(RUNS)),
    ("show", "m5000"),
)


def main() -> None:
    core = min(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, core {core} alone, load {load:.1f}, Python {platform.python_version()}, "
        f"SQLAlchemy {sqlalchemy.__version__}, medians of {REPEATS}\n"
    )
    print("| command | seconds | processor seconds | asked |\n| --- | ---: | ---: | --- |")
    for name in COMMANDS:
        print(row([name, "--help"], HELP_S, core))
    with tempfile.TemporaryDirectory() as place:
        registry = Path(place, "registry.db")
        fill(registry)
        for words in LISTS:
            print(row(["llorch-registry", *words, "--registry", str(registry)], LIST_S, core))


def fill(path: Path) -> None:
    """Record 10,000 conversions, in batches."""
    with Registry(path) as registry:
        for first in range(0, RUNS, 2500):
            numbers = range(first, first + 2500)
            runs: list[RunRecord] = []
            for n in numbers:
                at = START + timedelta(seconds=n)
                runs.append(conversion(f"m{n}", at=at))
                if n % 4 == 0:
                    runs.append(verification(f"m{n}", "PASSED", "PASSED", at=at))
            registry.record(*runs, names={f"m{n}": folder(f"m{n}").digest for n in numbers if n % 10 == 0})


def row(command: Sequence[str], asked_s: float, core: int) -> str:
    """Measure a command and return its line of the table."""
    took = [measure([str(BIN / command[0]), *command[1:]], core) for _ in range(REPEATS)]
    clock, processor = (statistics.median(values) for values in zip(*took, strict=True))
    shown = " ".join(command).partition(" --registry")[0]
    return f"| `{shown}` | {clock:.2f} | {processor:.2f} | ≤ {asked_s:g} |"


def measure(command: Sequence[str], core: int) -> tuple[float, float]:
    """Return the wall seconds and CPU seconds of a command on one core."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - begun, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
