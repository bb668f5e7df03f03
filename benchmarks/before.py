"""Compares time and peak memory of conversions with those of an older tree, alternating within one run.

    git worktree add --detach ../before 495b34a
    python -m benchmarks.before --before ../before [--repeats N] [FILE.gguf …]

By default of the test data's first tiny models, and the models in `demo/`. Each conversion is a process of its own,
whose wall time, CPU time and peak resident memory are compared: medians, also of the ratios, since a shared machine
varies. Prints a table for docs/benchmarks.md; exit code 1 if a ratio is above `--most`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.convert import Measurement, child

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LLORCH_TEST_DATA", ROOT.parent / "shared" / "data"))
CONVERT = "import sys; from {room} import convert; convert(*sys.argv[1:3])"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--before", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A checkout of the older tree.")  # fmt: skip
@click.option(
    "--repeats",
    default=5,
    help="Conversions of each file by each tree, after one of each that is not counted.",
)
@click.option("--most", default=1.05, help="The ratio that is still as before.")
def main(files: Sequence[Path], before: Path | None, repeats: int, most: float) -> None:
    """Convert FILES with both trees and print the ratios, new over old."""
    if before is None:
        click.echo("nothing to compare with: --before names a checkout of an older tree")
        return
    files = files or [*sorted(DATA.glob("tiny/*/q4_k_m.gguf")), *sorted((ROOT / "demo").glob("*.gguf"))]
    click.echo("| file | seconds, before and now | ratio | processor | peak memory, before and now | ratio |")
    click.echo("| --- | --- | ---: | ---: | --- | ---: |")
    above = 0
    for file in files:
        rounds = [(convert(file, before), convert(file, ROOT)) for _ in range(repeats + 1)][1:]
        ratios = {
            name: statistics.median(getattr(now, name) / getattr(old, name) for old, now in rounds)
            for name in ("wall_s", "cpu_s", "peak_bytes")
        }
        seconds, peaks = (
            [statistics.median(getattr(pair[side], name) for pair in rounds) for side in (0, 1)]
            for name in ("wall_s", "peak_bytes")
        )
        click.echo(
            f"| {file.parent.name}/{file.name} | {seconds[0]:.2f}, {seconds[1]:.2f} | {ratios['wall_s']:.2f} "
            f"| {ratios['cpu_s']:.2f} | {peaks[0] / 1e6:,.0f}, {peaks[1] / 1e6:,.0f} MB | {ratios['peak_bytes']:.2f} |"
        )
        above += ratios["wall_s"] > most or ratios["peak_bytes"] > most
    sys.exit(1 if above else 0)


def convert(file: Path, tree: Path) -> Measurement:
    """Measure a conversion by a tree. In older trees the rooms were top-level packages, not below `llorch`."""
    packaged = (tree / "src" / "llorch").is_dir()
    code = CONVERT.format(room="llorch.converter" if packaged else "converter")
    with tempfile.TemporaryDirectory(dir=ROOT / "demo") as scratch:
        measured = child(code, file, Path(scratch, "out"), path=tree / "src" if packaged else tree)
        shutil.rmtree(Path(scratch, "out"))
    return measured


if __name__ == "__main__":
    main()
