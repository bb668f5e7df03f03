"""What every command of `llorch-registry` shares: where the registry is, and four ways to print rows."""

from __future__ import annotations

import contextlib
import csv
import getpass
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from llorch.commands import cli
from llorch.commands.cli import Cell, flat, write_table
from llorch.commands.ledger import registry_location
from llorch.registry import RegistryError

if TYPE_CHECKING:
    from llorch.registry import Registry

NAME = "llorch-registry"
FORMATS = ("table", "json", "jsonl", "csv")

PATIENCE_S = 2.0  # a question is not kept waiting for the write lock

AGO = re.compile(r"(\d{1,6})([dhm])")
UNITS = {"d": "days", "h": "hours", "m": "minutes"}

F = TypeVar("F", bound=Callable[..., Any])


class Answer(Protocol):
    """Anything that the registry answers."""

    def to_json(self) -> dict[str, Any]:
        """The object of it."""


A = TypeVar("A", bound=Answer)


def output_options(function: F) -> F:
    """--format, whose `json` is what --json is short for."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(FORMATS),
        help="How the answer is printed.  [default: table]",
    )(function)


class Since(click.ParamType[datetime]):
    """A time: a date, a whole RFC 3339 time, or how long ago as 7d, 12h, 30m."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, in UTC where no zone is said."""
        if isinstance(value, datetime):
            return value
        if found := AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{UNITS[found[2]]: int(found[1])})
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it as 2026-11-01, 2026-11-01T12:00:00Z or 7d", param, ctx)
        return when if when.tzinfo else when.replace(tzinfo=UTC)


def open_registry(url: str | None, *, drain_spool: bool = True) -> Registry:
    """The registry that the command means; first it takes in the runs noted beside it, unless that has to wait."""
    from llorch.registry import Registry, Spool  # SQLAlchemy: half a second that --help does not need

    location = registry_location(url)
    spool = Spool(location.spool)
    if drain_spool and spool.is_there:
        # What is wrong with it, the command itself will meet; a disk that cannot be written is nothing wrong.
        with contextlib.suppress(RegistryError), Registry(location.url, timeout_s=PATIENCE_S) as registry:
            spool.take_in(registry)
    return Registry(location.url, waiting=cli.progress)


def user() -> str:
    """Who runs this, as changes of names are recorded; by number where the machine has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # in this order: before Python 3.13, since, on Windows
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def host() -> str:
    """This machine, as its runs are recorded."""
    return socket.gethostname()


def write_answer(
    document: Mapping[str, Any], table: Callable[[], object], as_json: bool, output_format: str | None
) -> None:
    """Prints one answer: for a person as `table` does, else as JSON, as JSON on one line, or as a row of CSV."""
    if as_json or output_format == "json":
        cli.write_json(document)
    elif output_format == "jsonl":
        click.echo(json.dumps(document, allow_nan=False))
    elif output_format == "csv":
        write_csv([document])
    else:
        table()


def write_csv(documents: Sequence[Mapping[str, Any]]) -> None:
    """A header and a row each, by RFC 4180; what is nested is JSON in its cell. Nothing prints nothing."""
    if documents:
        writer = csv.writer(sys.stdout)
        writer.writerow(documents[0])
        writer.writerows([["" if v is None else flat(v) for v in row.values()] for row in documents])


def write_answers(
    schema: str,
    key: str,
    answers: Sequence[A],
    titles: Sequence[str],
    cells: Callable[[A], Sequence[Cell]],
    as_json: bool,
    output_format: str | None,
    *,
    spared: Sequence[str] = (),
) -> None:
    """Prints answers as rows: a table, one JSON document with them under `key`, a JSON line each, or CSV.

    spared: as `write_table` has it.
    """
    documents = [answer.to_json() for answer in answers]
    if as_json or output_format == "json":
        cli.write_json({"schema": f"llorch.{schema}/v1", key: documents})
    elif output_format == "jsonl":
        for document in documents:
            click.echo(json.dumps(document, allow_nan=False))
    elif output_format == "csv":
        write_csv(documents)
    else:
        write_table(titles, [cells(answer) for answer in answers], spared=spared)
