"""Measures a conversion against writing the same bytes, against gguf-py, and against transformers.

    python -m benchmarks.convert --shape qwen2.5-0.5b --repeats 5
    python -m benchmarks.convert --shape phi-3-mini --repeats 5 --transformers 5

All alternate within one run, since a shared machine varies: ours (a new process each time, with digests and tokenizer),
then the same number of bytes written in pieces of 4 MiB and fsynced, then transformers, whose files are fsynced as ours
are. Prints a table for docs/benchmarks.md: medians, ratios of pairs, peak resident memory. gguf-py's time is that of a
sample of every tensor type, scaled to the model. The input is generated first, and kept for the next run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.full_size import SHAPES, Shape, random_blocks, write_model
from llorch.formats.quants import by_name

PIECE = 4 << 20
SAMPLE_WEIGHTS = 1 << 21

OURS = "import sys; from llorch.converter import convert; convert(*sys.argv[1:3], dtype='bfloat16')"
# Without `dequantize` transformers treats the model as quantized, though its weights are bfloat16, and won't save it.
TRANSFORMERS = """
import os, pathlib, sys, torch, transformers
source, out = map(pathlib.Path, sys.argv[1:3])
place = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
dense = transformers.GgufConfig(dequantize=True)
model = transformers.AutoModelForCausalLM.from_pretrained(
    **place, dtype=torch.bfloat16, quantization_config=dense
)
model.save_pretrained(out)
transformers.AutoTokenizer.from_pretrained(**place).save_pretrained(out)
for path in out.iterdir():
    os.fsync(os.open(path, os.O_RDONLY))
"""


@dataclass(frozen=True)
class Measurement:
    """The wall and CPU seconds and the peak resident memory of a child process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Generate the input, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=Path("demo/benchmark"), help="where there is room for both"
    )
    parser.add_argument(
        "--transformers",
        type=int,
        default=0,
        metavar="REPEATS",
        help="in so many of the rounds transformers too: loading, dequantizing, saving, the tokenizer",
    )
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    shape = SHAPES[given.shape]()
    source, out = given.folder / f"{given.shape}.gguf", given.folder / "out"
    if not source.exists():
        write_model(shape, source)
    ours, written, theirs = [], [], []
    shutil.rmtree(out, ignore_errors=True)
    child(OURS, source, out)  # compiles the kernels and reads the source into the page cache
    size = sum(path.stat().st_size for path in out.iterdir())
    for turn in range(given.repeats):
        shutil.rmtree(out)
        ours.append(child(OURS, source, out))
        written.append(write_like_dd(given.folder / "dd", size))
        if turn < given.transformers:
            shutil.rmtree(out)
            theirs.append(child(TRANSFORMERS, source, out))
    rows = [
        row("ours", ours),
        ("writing the same bytes, fsynced", statistics.median(written), 0),
        ("gguf-py, dequantizing only", gguf_py(shape), 0),
        *([row("transformers", theirs)] if theirs else []),
    ]
    shutil.rmtree(out)
    report(given.shape, source.stat().st_size, size, rows)
    our_walls = [m.wall_s for m in ours]
    print(f"\nOurs to writing, {pair_by_pair(our_walls, written)}.")
    if theirs:
        print(f"transformers to ours, {pair_by_pair([m.wall_s for m in theirs], our_walls[: len(theirs)])}.")
    print(f"CPU seconds of ours: {statistics.median(m.cpu_s for m in ours):.2f}.")


def row(what: str, children: Sequence[Measurement]) -> tuple[str, float, int]:
    """Return a row of the table: the median of the seconds, and the highest peak memory."""
    return what, statistics.median(m.wall_s for m in children), max(m.peak_bytes for m in children)


def pair_by_pair(left: Sequence[float], right: Sequence[float]) -> str:
    """Return the sorted ratios of pairs that ran one after the other, and their median."""
    ratios = sorted(a / b for a, b in zip(left, right, strict=True))
    return f"pair by pair: {' '.join(f'{ratio:.2f}' for ratio in ratios)}; median {statistics.median(ratios):.2f}"


def child(code: str, *arguments: Path, path: Path | None = None) -> Measurement:
    """Run code in a new interpreter with `path` first for imports, and measure it; RuntimeError if it fails."""
    environment = {**os.environ, **({} if path is None else {"PYTHONPATH": str(path)})}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code, *map(str, arguments)], environment)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - started
    if status:
        raise RuntimeError(f"the child ended with {os.waitstatus_to_exitcode(status)}")
    return Measurement(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def write_like_dd(path: Path, size: int) -> float:
    """Return the seconds to write `size` bytes to a new file, with fsync."""
    piece = np.random.default_rng(0).bytes(PIECE)
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for at in range(0, size, PIECE):
            file.write(piece[: size - at])
        os.fsync(file.fileno())
    elapsed = time.perf_counter() - started
    path.unlink()
    return elapsed


def gguf_py(shape: Shape) -> float:
    """Estimate the seconds for gguf-py to dequantize all tensors to float32, from a sample of each type."""
    import gguf

    weights = Counter[str]()
    for _, extents, type_name in shape.tensors:
        weights[type_name] += int(np.prod(extents))
    total = 0.0
    for type_name, count in weights.items():
        quant = by_name(type_name)
        blocks = random_blocks(quant, SAMPLE_WEIGHTS // quant.weights, np.random.default_rng(0))
        started = time.perf_counter()
        gguf.dequantize(blocks.view(np.uint8), gguf.GGMLQuantizationType[type_name])
        total += (time.perf_counter() - started) * count / SAMPLE_WEIGHTS
    return total


def report(shape: str, source: int, size: int, rows: Sequence[tuple[str, float, int]]) -> None:
    """Print the table, with machine and versions."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "gguf", "llvmlite")
    )
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{shape}: {source / 1e6:,.0f} MB of GGUF → {size / 1e6:,.0f} MB of bfloat16")
    print(
        f"{platform.machine()}, {cores} cores, load {load:.1f}, Python {platform.python_version()}, {versions}\n"
    )
    print("| what | seconds | of ours | peak memory |\n| --- | ---: | ---: | ---: |")
    for what, seconds, peak in rows:
        memory = f"{peak / 1e6:,.0f} MB" if peak else "–"
        print(f"| {what} | {seconds:.2f} | {seconds / rows[0][1]:.2f} | {memory} |")


if __name__ == "__main__":
    main()
