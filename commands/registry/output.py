"""Shared by the commands of `llorch-registry`: opening the registry, and printing answers in four formats."""

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

PATIENCE_S = 2.0  # a query does not wait longer for the write lock

AGO = re.compile(r"(\d{1,6})([dhm])")
UNITS = {"d": "days", "h": "hours", "m": "minutes"}

F = TypeVar("F", bound=Callable[..., Any])


class Answer(Protocol):
    """Any answer of the registry."""

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a JSON object."""


A = TypeVar("A", bound=Answer)


def output_options(function: F) -> F:
    """Add --format, passed to the function as `output_format`; --json is short for --format json."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(FORMATS),
        help="How the answer is printed.  [default: table]",
    )(function)


class Since(click.ParamType[datetime]):
    """A time: a date, an RFC 3339 time, or a time ago such as 7d, 12h, 30m."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time; UTC if it has no zone."""
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
    """Open the command's registry, after recording the runs noted in its spool; skipped if that would have to wait."""
    from llorch.registry import Registry, Spool  # SQLAlchemy: half a second that --help does not need

    location = registry_location(url)
    spool = Spool(location.spool)
    if drain_spool and spool.is_there:
        # The command itself reports a registry that is broken; one that can't be written can still be queried.
        with contextlib.suppress(RegistryError), Registry(location.url, timeout_s=PATIENCE_S) as registry:
            spool.take_in(registry)
    return Registry(location.url, waiting=cli.progress)


def user() -> str:
    """Return the user's name, recorded with changes of names; "uid N" if the machine has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # before Python 3.13, since then, on Windows
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def host() -> str:
    """Return this machine's host name, as recorded with its runs."""
    return socket.gethostname()


def write_answer(
    document: Mapping[str, Any], table: Callable[[], object], as_json: bool, output_format: str | None
) -> None:
    """Print one answer: by `table` for a person, else as JSON, as JSON on one line, or as a row of CSV."""
    if as_json or output_format == "json":
        cli.write_json(document)
    elif output_format == "jsonl":
        click.echo(json.dumps(document, allow_nan=False))
    elif output_format == "csv":
        write_csv([document])
    else:
        table()


def write_csv(documents: Sequence[Mapping[str, Any]]) -> None:
    """Print CSV (RFC 4180): a header, and a row per document with lists and dicts as JSON. Nothing for no documents."""
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
    """Print answers: as a table, as one JSON document with them under `key`, as JSON lines, or as CSV.

    spared: as in `write_table`.
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
