"""`llorch-batch run`: run a plan's tasks, or a shard of them, on one engine into one output folder."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch.base.cores import allowed_cores
from llorch.base.printable import printable
from llorch.commands import cli
from llorch.commands.batch.states import write_status
from llorch.commands.cli import LEVELS, SIZE
from llorch.commands.ledger import registry_location
from llorch.fleet import STATE

if TYPE_CHECKING:
    from llorch.commands.batch.team import TeamRegistry
    from llorch.fleet import Driver, Engine, Plan, Shard, Task

NAME = "llorch-batch"
SHARE_OF_MEMORY = 0.9  # of the machine's memory, for tasks
ENGINES = ("local", "ray", "dask")
RUN_TASK = "llorch.commands.batch.warm:run_task"  # the function that engines import and call

commands = click.Group()


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of `run`, with defaults filled in."""

    out: Path
    engine: str
    address: str
    workers: int
    threads: int
    level: str
    retries: int
    lease_s: float
    node: str
    scratch: Path
    disk: int
    memory: int
    force: bool

    @property
    def state(self) -> Path:
        """The folder shared by all drivers: claims, receipts, registries, logs."""
        return self.out / STATE


@dataclass(slots=True)
class Count:
    """The number of tasks that have ended, for the progress bar."""

    total: int
    bar: Any = None
    ended: int = 0


@cli.subcommand(
    commands,
    "run",
    example=f"{NAME} run plan.jsonl --out converted\n{NAME} run plan.jsonl --out /shared/converted --shard 2/8",
)
@click.argument("file", metavar="PLAN", type=cli.PATH)
@click.option(
    "--out",
    metavar="DIR",
    type=cli.PATH,
    required=True,
    help="The folder to write, with a folder for each model.",
)
@click.option(
    "--shard", metavar="K/N",
    help="Only this part, from 1/N to N/N.  [default: as Slurm, Kubernetes or SkyPilot say, else all]",
)  # fmt: skip
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="What starts the processes.",
)
@click.option(
    "--address",
    default="",
    help="Address of a running Ray or Dask cluster.  [default: one is started on this machine]",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes on this machine.  [default: its cores]"
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of each conversion."
)
@click.option(
    "--verify",
    "level",
    type=click.Choice([*LEVELS, "none"]),
    help="How thoroughly each conversion is checked.  [default: as planned]",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=2,
    show_default=True,
    help="How often a task that failed is tried again.",
)
@click.option("--retry-failed", is_flag=True, help="Try tasks again that an earlier run gave up.")
@click.option(
    "--lease", "lease_s", metavar="SECONDS", type=click.FloatRange(min=1), default=60.0, show_default=True,
    help="How long a driver may be silent before others take over its tasks.",
)  # fmt: skip
@click.option("--node", help="What this machine is called, for its registry.  [default: its host name]")
@click.option(
    "--scratch", metavar="DIR", type=cli.PATH, help="Where sources are fetched to.  [default: in --out]"
)
@click.option("--disk", type=SIZE, help="Space that tasks under way may take.  [default: all that is free]")
@click.option(
    "--memory",
    type=SIZE,
    help="Memory that tasks may take together.  [default: nine tenths of this machine's]",
)
@click.option("--force", is_flag=True, help="Replace folders in --out that other conversions wrote.")
@cli.registry_option
def run(
    file: Path,
    out: Path,
    shard: str | None,
    engine: str,
    address: str,
    workers: int | None,
    threads: int,
    level: str | None,
    retries: int,
    retry_failed: bool,
    lease_s: float,
    node: str | None,
    scratch: Path | None,
    disk: int | None,
    memory: int | None,
    force: bool,
    url: str | None,
    as_json: bool,
) -> int:
    """Convert what PLAN says, as many at once as this machine holds.

    It goes on where an earlier run ended. Several of these may work on one plan and one --out at once, on any
    machines. --registry is the team's, into which this machine's is merged. Ends with 1 if a task failed, with 5 if
    some fit no machine that works on them.
    """
    from llorch.fleet import BatchFolder, read_plan, status_of, tasks_of_shard

    made = read_plan(file)
    part = select_shard(shard, os.environ)
    tasks = list(made.tasks) if part is None else tasks_of_shard(made.tasks, part)
    name = node or socket.gethostname()
    if "/" in name or name.startswith("."):
        raise click.BadParameter(f"{name!r} is no name of a file", param_hint="--node")
    out = out.absolute()
    chosen = Choices(
        out=out,
        engine=engine,
        address=address,
        workers=workers or allowed_cores(),
        threads=threads,
        level=level or made.level,
        retries=retries,
        lease_s=lease_s,
        node=name,
        scratch=(scratch or out / STATE / "scratch").absolute(),
        disk=disk or 1 << 62,
        memory=memory or machine_memory(),
        force=force,
    )
    if part is not None:
        cli.note(NAME, f"shard {part.number}/{part.count}, as {part.said_by} says: {len(tasks)} tasks")
    folder = BatchFolder(chosen.state)
    make_folders(chosen)
    if retry_failed:
        folder.forget_failures()
    left, unmerged = run_tasks(made, tasks, chosen, url)
    status = status_of(tasks, folder)
    if as_json:
        cli.write_json({**status.to_json(), "left": dict(left), "unmerged": dict(unmerged)})
    else:
        write_status(status)
    for output, lack in left.items():
        cli.note(NAME, f"left: {output}: {lack}")
    for registry, why in unmerged.items():
        cli.note(NAME, f"{why}; `llorch-registry merge {registry}` merges it later")
    return 5 if left else 4 if unmerged else 1 if status.states["failed"] else 0


def select_shard(said: str | None, environment: Mapping[str, str]) -> Shard | None:
    """Return the shard of --shard, else the one in the environment variables, else None. Raises UsageError."""
    from llorch.fleet import parse_shard, shard_from_environment

    try:
        return parse_shard(said) if said is not None else shard_from_environment(environment)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--shard") from None


def machine_memory() -> int:
    """Return the bytes of memory that this machine's tasks may take together."""
    return int(SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def make_folders(chosen: Choices) -> None:
    """Create the output folder, the shared folders in it, and the scratch folder. Raises OutputError."""
    try:
        for folder in (chosen.out, chosen.state / "registries", chosen.state / "logs", chosen.scratch):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cli.OutputError(error.errno, error.strerror, error.filename) from error


def run_tasks(
    made: Plan, tasks: Sequence[Task], chosen: Choices, url: str | None
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Run the tasks. Returns output → why it was left undone, and registry → why it could not be merged."""
    from llorch.commands.batch.team import TeamRegistry  # SQLAlchemy

    with ExitStack() as stack:
        bar = stack.enter_context(cli.progress("converting", in_bytes=False))
        count = Count(len(tasks), bar)
        team = TeamRegistry(registry_location(url))
        try:
            engine = stack.enter_context(start_engine(chosen))
            left = driver(made, tasks, chosen, engine, team, count).run()
        finally:
            unmerged = team.close()
        clear_scratch(tasks, chosen)
    outputs = {task.key: task.output for task in tasks}
    return {outputs[key]: lack for key, lack in left.lacks.items()}, unmerged


def start_engine(chosen: Choices) -> Engine:
    """Open the engine; its workers write to one log per machine."""
    from llorch.fleet import EngineOptions, open_engine

    log = os.fspath(chosen.state / "logs" / f"{chosen.node}.log")
    return open_engine(chosen.engine, EngineOptions(RUN_TASK, chosen.workers, chosen.address, log))


def driver(
    made: Plan, tasks: Sequence[Task], chosen: Choices, engine: Engine, team: TeamRegistry, count: Count
) -> Driver:
    """Return the run's driver. The local engine gets this machine's memory and disk; a cluster knows its machines'."""
    from llorch.fleet import BatchFolder, Driver, Node, Settings

    node = Node(chosen.node, chosen.memory, chosen.disk, (chosen.out, chosen.scratch))
    poll_s = min(1.0, chosen.lease_s / 10)
    fields = {
        "options": dict(made.options),
        "level": chosen.level,
        "out": os.fspath(chosen.out),
        "scratch": os.fspath(chosen.scratch),
        "registries": os.fspath(chosen.state / "registries"),
        "node": chosen.node,
        "threads": chosen.threads,
        "force": chosen.force,
    }

    def on_end(task: Task, receipt: Mapping[str, Any]) -> None:
        team.add(receipt)
        show_end(count, task, receipt)
        if receipt["status"] == "failed":
            discard_unfinished(chosen.out / task.output)

    return Driver(
        tasks,
        BatchFolder(chosen.state),
        engine,
        node if chosen.engine == "local" else None,
        Settings(chosen.retries, chosen.lease_s, poll_s),
        task_fields=fields,
        passes_over=lambda task: source_elsewhere(task, chosen.node),
        on_end=on_end,
    )


def source_elsewhere(task: Task, node: str) -> str | None:
    """Return why this machine skips a task: its source file is not here and was planned on another host; else None.

    A file that was planned on this host and is missing isn't skipped: its task will fail and say so.
    """
    if task.host in ("", socket.gethostname()) or os.path.exists(task.source):  # noqa: PTH110  # text from the plan
        return None
    return f"its source is not on {node}; it was planned on {task.host}"


def show_end(count: Count, task: Task, receipt: Mapping[str, Any]) -> None:
    """Advance the progress bar; print a line for a failed task."""
    count.ended += 1
    if count.bar is not None:
        count.bar(count.ended, count.total)
    if receipt["status"] == "failed":
        cli.note(
            NAME,
            f"failed: {printable(task.output, 200, quoted=False)}: {receipt['reason']}: {receipt['message']}",
        )


def discard_unfinished(folder: Path) -> None:
    """Remove what killed attempts at a failed task left beside its folder, unless another process is writing it."""
    from llorch import converter

    with suppress(OSError):
        converter.discard_unfinished(folder)


def clear_scratch(tasks: Sequence[Task], chosen: Choices) -> None:
    """Remove downloads left by killed attempts at tasks that have ended."""
    from llorch.fleet import BatchFolder

    ended = BatchFolder(chosen.state).finished()
    for task in tasks:
        if task.key in ended:
            shutil.rmtree(chosen.scratch / task.key, ignore_errors=True)
    with suppress(OSError):
        chosen.scratch.rmdir()
