"""`llorch-verify matrix`: run every model of a folder on every device from every format, each in a new process."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from llorch.commands import cli
from llorch.commands.cli import Cell, size, text, write_table
from llorch.verification import (
    FORMATS,
    PROMPT,
    Candidate,
    Row,
    candidates,
    compare_rows,
    counts,
    digest_of_model,
    document,
    passed_before,
)

NAME = "llorch-verify matrix"
TITLES = ("model", "format", "device", "status", "tokens a second", "memory", "why")


class ListType(click.ParamType[tuple[str, ...]]):
    """A comma-separated list of allowed words."""

    name = "list"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the words without duplicates, in the order given; a usage error for another word."""
        if isinstance(value, tuple):
            return value
        chosen = tuple(dict.fromkeys(word.strip() for word in value.split(",")))
        wrong = [word for word in chosen if word not in self.words]
        if wrong:
            self.fail(f"{wrong[0]!r} is none of {', '.join(self.words)}", param, ctx)
        return chosen


@cli.command(
    NAME, example=f"{NAME} models --devices cpu,cuda --junit matrix.xml --markdown docs/MODEL_SUPPORT.md"
)
@click.argument("models", metavar="MODELS_DIR", type=cli.PATH)
@click.option(
    "--devices", metavar="LIST", type=ListType(("cpu", "cuda", "mps")), default="cpu", show_default=True,
    help="Some of cpu, cuda, mps, between commas. One that is not there is skipped.",
)  # fmt: skip
@click.option(
    "--formats", metavar="LIST", type=ListType(FORMATS), default="gguf,folder", show_default=True,
    help="Some of gguf, folder, between commas.",
)  # fmt: skip
@click.option(
    "-n",
    "--max-new-tokens",
    "tokens",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Tokens to generate in each row.",
)
@click.option("--junit", metavar="FILE", type=cli.PATH, help="Write the rows as JUnit's XML.")
@click.option(
    "--receipt",
    metavar="FILE",
    type=cli.PATH,
    help="Write the document that --json prints, anew after every row.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Do not repeat rows that passed in --receipt FILE with the same bytes and versions.",
)
@click.option(
    "--minutes",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after so long, with exit code 7 if rows are left: --resume goes on.",
)
@click.option(
    "--receipts",
    metavar="FILE",
    type=cli.PATH,
    multiple=True,
    help="A receipt of an earlier run, for --markdown; may be repeated.",
)
@click.option(
    "--markdown",
    metavar="FILE",
    type=cli.PATH,
    help="Write the support page, from this run and --receipts.",
)
@click.option("--row", hidden=True, is_flag=True, help="Run MODELS_DIR as one row, in this process.")
def matrix(
    models: Path,
    devices: tuple[str, ...],
    formats: tuple[str, ...],
    tokens: int,
    junit: Path | None,
    receipt: Path | None,
    resume: bool,
    minutes: float | None,
    receipts: tuple[Path, ...],
    markdown: Path | None,
    row: bool,
    as_json: bool,
) -> int:
    """Run every model of MODELS_DIR on each device from each format: prompt, greedy text, logits, speed, memory.

    The greedy text and the logits of a model must be the same on all devices. It fails where a row failed, and where
    nothing ran.
    """
    if row:
        return one_row(models, formats[0], devices[0], tokens)
    if not models.is_dir():
        raise FileNotFoundError(2, "No such file or directory", str(models))
    if resume and receipt is None:
        raise click.UsageError("--resume is for --receipt FILE, which is not given.")
    end = None if minutes is None else time.monotonic() + 60 * minutes
    from llorch.verification import now, tools  # torch

    versions = tools()
    before = passed_in(receipt, versions, tokens) if resume and receipt is not None else {}
    found = list(candidates(models, formats))
    jobs = [(one, device) for one in found for device in devices]
    rows: list[Row] = []
    made = document(rows, made=now(), tools=versions, prompt=PROMPT, tokens=tokens)
    with cli.progress("models", in_bytes=False) as progress:
        for one in run_rows(jobs, tokens, before, end):
            rows.append(one)
            made = document(compare_rows(rows), made=now(), tools=versions, prompt=PROMPT, tokens=tokens)
            if receipt is not None:
                write_receipt(receipt, made)
            if progress:
                progress(len(rows), len(jobs))
    rows = compare_rows(rows)
    write_files(rows, made, junit, receipts, markdown)
    if as_json:
        cli.write_json(made)
    else:
        write_table(TITLES, [cells(one) for one in rows])
        totals = counts(rows)
        cli.note(NAME, ", ".join(f"{count} {status}" for status, count in totals.items()))
    if not any(one.status == "passed" for one in rows) and len(rows) == len(jobs):
        cli.note(NAME, f"{models}: nothing ran: {len(found)} models were found")
        return 1
    if len(rows) < len(jobs):
        cli.note(
            NAME, f"{len(jobs) - len(rows)} of {len(jobs)} rows are left: --receipt FILE --resume goes on"
        )
    return 1 if any(one.status == "failed" for one in rows) else 7 if len(rows) < len(jobs) else 0


def passed_in(receipt: Path, versions: Mapping[str, str], tokens: int) -> dict[tuple[str, str, str], Row]:
    """Read the rows that passed from the receipt of an earlier run; empty if the file doesn't exist."""
    if not receipt.exists():
        return {}
    try:
        return passed_before(json.loads(receipt.read_bytes()), tools=versions, prompt=PROMPT, tokens=tokens)
    except (ValueError, TypeError, KeyError) as error:
        raise click.UsageError(f"{receipt} is no receipt of this command: {error!r}") from error


def run_rows(
    jobs: Sequence[tuple[Candidate, str]],
    tokens: int,
    before: Mapping[tuple[str, str, str], Row],
    end: float | None,
) -> Iterator[Row]:
    """Yield a row for each model and device; a row of `before` is reused if the model's bytes are the same.

    end: deadline, by time.monotonic; jobs not run until then have no row.
    """
    for one, device in jobs:
        row = before.get((one.name, one.format, device))
        if row is None or row.receipt != digest_of_model(one.path):
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                continue
            try:
                row = in_own_process(one, device, tokens, left)
            except subprocess.TimeoutExpired:
                continue
        yield row


def one_row(path: Path, format: str, device: str, tokens: int) -> int:
    """Run the model at `path` in this process and print the row as JSON."""
    from llorch.verification import run_row  # torch

    cli.write_json(run_row(Candidate(path.stem, format, path), device, tokens).to_json())
    return 0


def in_own_process(one: Candidate, device: str, tokens: int, seconds: float | None) -> Row:
    """Run a row in a new process; a failed row if that dies. Raises subprocess.TimeoutExpired after `seconds`."""
    options = ("--row", "--devices", device, "--formats", one.format, "-n", str(tokens), "--json")
    child = cli.run_command("verify", "matrix", str(one.path), *options, quietly=True, timeout=seconds)
    try:
        return Row.from_json({**json.loads(child.stdout), "model": one.name})
    except (ValueError, TypeError, KeyError):
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
        return Row(one.name, one.format, device, "failed", f"its process ended with {how}")


def write_files(
    rows: Sequence[Row],
    made: Mapping[str, object],
    junit: Path | None,
    receipts: Sequence[Path],
    markdown: Path | None,
) -> None:
    """Write the JUnit file and the support page, if requested. Raises OutputError."""
    from llorch.verification.matrix import pages

    earlier = [json.loads(path.read_bytes()) for path in receipts]
    files: list[tuple[Path | None, Callable[[], str]]] = [
        (junit, lambda: pages.junit(rows)),
        (markdown, lambda: pages.support_page([made, *earlier])),
    ]
    for path, content in files:
        if path is not None:
            cli.write_file(path, content())


def write_receipt(path: Path, made: Mapping[str, Any]) -> None:
    """Write the rows so far, the whole file or none of it. Raises OutputError."""
    cli.write_file(path, json.dumps(made, indent=1) + "\n")


def cells(row: Row) -> list[Cell]:
    """Return a row of the table."""
    speed = "" if row.speed is None else f"{row.speed:.1f}"
    return [
        text(row.model),
        text(row.format),
        text(row.device),
        text(row.status),
        text(speed),
        size(row.memory),
        text(row.why),
    ]
