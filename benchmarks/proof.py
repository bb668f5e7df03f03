"""Measures the speed of checking a file's digest against that of sha256sum on the same file in the same run.

`python -m benchmarks.proof [--gigabytes 2]`. Both read a file of random bytes, alternately; a figure is the median of
five pairs. The last row also computes git's blob id, in the same pass.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from llorch.sources.local.proof import digests, prove
from llorch.sources.offer import RemoteFile

PAIRS = 5
PIECE = 1 << 24


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=2.0)
    size = int(parser.parse_args().gigabytes * 10**9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        file = RemoteFile("model.gguf", size, sha256=write_random(path, size))
        print(f"{size / 1e9:.1f} GB; {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
              f"Python {platform.python_version()}\n")  # fmt: skip
        print("| what | seconds | MB/s | of sha256sum's speed |")
        print("| --- | ---: | ---: | ---: |")
        ways: dict[str, Callable[[], object]] = {
            "sha256sum": lambda: subprocess.run(["sha256sum", path], check=True, stdout=subprocess.DEVNULL),
            "proving": lambda: prove(file, path),
            "SHA-256 and git's id together": lambda: digests(path, with_git=True),
        }
        taken = turns(ways)
        for name, seconds in taken.items():
            ratios = [reference / own for reference, own in zip(taken["sha256sum"], seconds, strict=True)]
            median = statistics.median(seconds)
            print(f"| {name} | {median:.2f} | {size / median / 1e6:,.0f} | {statistics.median(ratios):.2f} |")


def turns(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the seconds of each way in `PAIRS` turns, after a first turn that reads the file into memory."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(PAIRS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:
                taken[name].append(time.perf_counter() - started)
    return taken


def write_random(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for start in range(0, size, PIECE):
            piece = os.urandom(min(PIECE, size - start))
            digest.update(piece)
            stream.write(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
