"""`llorch-batch status`: a batch's progress as tables, JSON, HTML and Prometheus metrics."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch.commands import cli
from llorch.commands.cli import Cell, duration, size, text, write_rows, write_table
from llorch.fleet import STATE

if TYPE_CHECKING:
    from llorch.fleet import Status

NAME = "llorch-batch"

commands = click.Group()


@cli.subcommand(commands, "status", example=f"{NAME} status plan.jsonl --out converted --html status.html")
@click.argument("file", metavar="PLAN", type=cli.PATH)
@click.option("--out", metavar="DIR", type=cli.PATH, required=True, help="The folder that `run` writes.")
@click.option("--html", metavar="FILE", type=cli.PATH, help="Write it as a web page.")
@click.option(
    "--prometheus",
    metavar="FILE.prom",
    type=cli.PATH,
    help="Write it for node_exporter's textfile collector.",
)
def status(file: Path, out: Path, html: Path | None, prometheus: Path | None, as_json: bool) -> None:
    """Say how far PLAN is.

    What has ended and how, how fast, what failed and why, and when it will be done.
    """
    from llorch.commands.batch import pages
    from llorch.fleet import BatchFolder, read_plan, status_of  # as all rooms, loaded when it is used

    found = status_of(read_plan(file).tasks, BatchFolder(out / STATE))
    pages_wanted = ((html, pages.status_page(found)), (prometheus, pages.prometheus_text(found)))
    for path, content in pages_wanted:
        if path is not None:
            cli.write_file(path, content)
    if as_json:
        cli.write_json(found.to_json())
    else:
        write_status(found)


def write_status(found: Status) -> None:
    """Print the status as tables: figures, failures by cause, hosts, running tasks."""
    write_rows([[text(title), cell] for title, cell in summary(found)])
    failures = [
        [text(one.reason), text(one.count), text(one.output), wrap(one.example)] for one in found.failures
    ]
    hosts = [
        [text(one.host), text(one.converted), text(one.failed), duration(one.seconds), size(one.source_bytes)]
        for one in found.hosts
    ]
    running = [[text(one.output), text(one.host), text(one.pid), text(one.attempt)] for one in found.running]
    tables: list[tuple[Sequence[str], list[list[Cell]]]] = [
        (("cause", "tasks", "one of them", "what was said"), failures),
        (("host", "converted", "failed", "worked", "read"), hosts),
        (("running", "host", "pid", "attempt"), running),
    ]
    for titles, rows in tables:
        if rows:
            if cli.is_terminal(sys.stdout):
                click.echo()
            write_table(titles, rows)


def summary(found: Status) -> list[tuple[str, Cell]]:
    """Return (title, cell) rows of the figures over all tasks."""
    tasks = ", ".join(f"{count} {state}" for state, count in found.states.items() if count)
    checks = ", ".join(f"{count} {name}" for name, count in found.outcomes.items() if name != "None")
    rate = found.bytes_per_second
    return [
        ("tasks", text(tasks or "none")),
        (
            "read",
            Cell(str(found.done_bytes), f"{size(found.done_bytes).brief} of {size(found.all_bytes).brief}"),
        ),
        ("written", size(found.written_bytes)),
        ("checks", text(checks)),
        (
            "rate",
            Cell(
                "" if rate is None else repr(rate),
                "" if rate is None else f"{size(int(rate)).brief}/s a task",
            ),
        ),
        ("left", duration(found.eta_s) if found.eta_s is not None else text("not known yet")),
    ]


def wrap(line: str) -> Cell:
    """Return a cell that is wrapped below its row if the row has no room for it."""
    cell = text(line)
    return Cell(cell.full, cell.full, below=True)
