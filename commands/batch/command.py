"""`llorch-batch`: plan many conversions, estimate the time they take, run them, and show the progress."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch.base.printable import printable
from llorch.commands import cli
from llorch.commands.batch import running, states
from llorch.commands.cli import LEVELS, SIZE, duration, size, write_document
from llorch.commands.ledger import registry_location

if TYPE_CHECKING:
    from llorch.fleet import Plan, SimulationResult

NAME = "llorch-batch"


@cli.group(NAME, example=f"{NAME} plan models/ -o plan.jsonl\n{NAME} run plan.jsonl --out converted")
def main() -> None:
    """Convert thousands of models over many machines: planned first, then claimed task by task.

    The state is in receipts and claims on a folder that all machines see. What starts the processes is yours: Slurm,
    Kubernetes, Ray, Dask, or a shell.
    """


@cli.subcommand(
    main,
    "plan",
    example=f"{NAME} plan /models 'more/**/*.gguf' list.txt registry:dtype=Q4_K -o plan.jsonl\n"
    f"{NAME} plan Qwen/Qwen2.5-0.5B-Instruct-GGUF --quant Q4_K_M --verify full -o plan.jsonl",
)
@click.argument("words", metavar="SOURCES...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE.jsonl", type=cli.PATH, required=True, help="The plan to write.")
@click.option(
    "--options", "chosen", metavar="FILE.toml", type=cli.PATH,
    help="Options of every conversion: dtype, max_shard_size, strict, allow_unknown.",
)  # fmt: skip
@click.option(
    "--quant", metavar="TYPE", help="Take only files of this quantization from repositories, as Q4_K_M."
)
@click.option(
    "--include",
    metavar="GLOB",
    multiple=True,
    help="Take only files that match from repositories; may be repeated.",
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Take no files that match from repositories; may be repeated.",
)
@click.option(
    "--verify", "level", type=click.Choice([*LEVELS, "none"]), default="quick", show_default=True,
    help="How thoroughly each conversion is checked, in the plan and in its runs.",
)  # fmt: skip
@click.option(
    "--gpus", type=click.IntRange(min=0), default=0, show_default=True, help="GPUs that each task gets."
)
@cli.registry_option
def plan(
    words: Sequence[str],
    output: Path,
    chosen: Path | None,
    quant: str | None,
    include: Sequence[str],
    exclude: Sequence[str],
    level: str,
    gpus: int,
    url: str | None,
    as_json: bool,
) -> None:
    """Look at SOURCES, and write down what is to be converted.

    Also what that needs, and what will be refused.

    SOURCES are .gguf files, folders, globs, .txt files with a source a line, owner/repo of a hub (all its GGUF models,
    of which headers alone are read), URLs, and registry:name=…,architecture=…,dtype=…
    """
    from llorch import sources  # slow clients that --help does not need
    from llorch.commands.batch.candidates import candidates
    from llorch.commands.batch.planning import build_plan, read_options
    from llorch.fleet import plan_bytes

    options = read_options(chosen)
    wish = sources.FileFilter(quant, tuple(include) or ("*.gguf",), tuple(exclude))
    found = candidates(words, wish, registry_location(url))
    with cli.progress("looking", in_bytes=False) as bar:
        looked: list[str] = []

        def count(one: object) -> None:
            looked.append(str(one))
            if bar is not None:
                bar(len(looked), len(looked))

        made = build_plan(found, options, level, gpus=gpus, on_task=count)
    for task in made.tasks:
        if task.refused is not None:
            cli.note(NAME, f"refused: {printable(task.source, 200, quoted=False)}: {task.refused}")
    cli.write_file(output, plan_bytes(made))
    document = {"schema": "llorch.batch-planned/v1", "plan": os.fspath(output), **totals(made)}
    if as_json:
        cli.write_json(document)
    else:
        refused = f", {document['refused']} refused" if document["refused"] else ""
        sizes = f"{size(int(document['source_bytes'])).brief} → {size(int(document['output_bytes'])).brief}"
        click.echo(
            f"planned    {output}  ({document['tasks']} tasks{refused}, {sizes}, {len(looked)} models seen)"
        )


@cli.subcommand(
    main, "show", example=f"{NAME} show plan.jsonl --nodes 8 --cores 16 --disk 500GB --memory 64GB"
)
@click.argument("file", metavar="PLAN", type=cli.PATH)
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Number of machines.")
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    help="Cores of each machine.  [default: this one's]",
)
@click.option(
    "--disk", type=SIZE, default="1TB", show_default=True, help="Disk of each machine, for tasks under way."
)
@click.option("--memory", type=SIZE, default="64GB", show_default=True, help="Memory of each machine.")
def show(file: Path, nodes: int, cores: int, disk: int, memory: int, as_json: bool) -> int:
    """Estimate how long PLAN takes on machines of a size.

    With one task on each core; and how much memory and disk it needs.
    """
    from llorch.fleet import Cluster, read_plan, simulate

    made = read_plan(file)
    cluster = Cluster(nodes, cores, memory, disk)
    found = simulate(made.tasks, cluster)
    document = estimate_document(made, found)
    if as_json:
        cli.write_json({"schema": "llorch.batch-show/v1", **document})
    else:
        write_document(readable(document))
    for output in found.left:
        cli.note(NAME, f"{output} fits none of these machines")
    return 5 if found.left else 0


def totals(made: Plan) -> dict[str, int | float]:
    """Return the totals over all tasks; sizes and time without the refused ones."""
    tasks = [task for task in made.tasks if task.refused is None]
    return {
        "tasks": len(tasks),
        "refused": len(made.tasks) - len(tasks),
        "source_bytes": sum(task.source_bytes for task in tasks),
        "output_bytes": sum(task.output_bytes for task in tasks),
        "core_s": round(sum(task.needs.seconds for task in tasks), 1),
    }


def estimate_document(made: Plan, found: SimulationResult) -> dict[str, object]:
    """Return the document of `show`. disk_bytes and memory_bytes: the most that one machine uses at once."""
    return {
        **totals(made),
        "makespan_s": round(found.makespan_s, 1),
        "most_done_s": round(found.most_done_s, 1),
        "busy": round(found.busy, 3),
        "disk_bytes": found.disk_bytes,
        "memory_bytes": found.memory_bytes,
        "left": list(found.left),
        "refusals": [
            {"output": one.output, "why": one.refused} for one in made.tasks if one.refused is not None
        ],
    }


def readable(document: dict[str, object]) -> dict[str, object]:
    """Return the document for a person: bytes and seconds in larger units, without the keys' unit suffixes."""
    words: dict[str, object] = {}
    for key, value in document.items():
        if key.endswith("_bytes"):
            words[key.removesuffix("_bytes")] = size(int(str(value))).brief
        elif key.endswith("_s"):
            words[key.removesuffix("_s")] = duration(float(str(value))).brief
        else:
            words[key] = value
    return words


for part in (running, states):
    main.commands.update(part.commands.commands)
