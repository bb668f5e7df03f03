"""Rows for a person or for a program: a table that fits the terminal, or full values separated by tabs.

On a terminal sizes, ages and digests are shortened and columns cut. Otherwise nothing is shortened,
there is no header, and a tab or line end inside a value is escaped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import click

from llorch.base.printable import cut, head, printable, width
from llorch.commands.cli.declaration import is_terminal

GAP = "  "
NARROWEST = 6  # characters; no column is cut below this
ENOUGH = 32  # characters of a column that may be cut: enough to recognize a name
LONGEST = 1 << 20  # most characters of a value where stdout is no terminal

INDENT = "    "  # of a cell that is wrapped below its row
COLOURS = {
    "PASSED": "green",
    "INTACT": "green",
    "WARNED": "yellow",
    "INCOMPLETE": "yellow",
    "FAILED": "red",
    "ERROR": "red",
} | {"DAMAGED": "red"}
VERDICT = re.compile(rf"(?<!\S)(?:{'|'.join(COLOURS)})(?!\S)")

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
AGES: tuple[tuple[int, str], ...] = ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in full, for programs, and in brief, for a terminal."""

    full: str
    brief: str
    whole: bool = False  # never cut: a part of it would be useless
    below: bool = False  # wrapped below the row if the row has no room for it


def text(value: object) -> Cell:
    """Return a cell of text that may come from a file: control characters are escaped. None gives an empty cell."""
    whole = "" if value is None else str(value)
    return Cell(printable(whole, LONGEST, quoted=False), printable(whole, 200, quoted=False))


def size(value: int | None) -> Cell:
    """Return a cell of a size in bytes: `270 MB`, in powers of 1000 as disks and file managers count."""
    if value is None:
        return Cell("", "")
    amount, unit = float(value), 0
    while amount >= 999.5 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    digits = 0 if unit == 0 or amount >= 99.5 else 1
    return Cell(str(value), f"{amount:.{digits}f} {UNITS[unit]}")


def age(when: str | None, now: datetime | None = None) -> Cell:
    """Return a cell of an RFC 3339 time as an age: `3 h ago`, `now` within a minute. A future time is shown in full.

    now: the current time if it isn't given.
    """
    if not when:
        return Cell("", "")
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(when)).total_seconds()
    if seconds < 0:
        return Cell(when, when)
    for length, unit in AGES:
        if seconds >= length:
            return Cell(when, f"{int(seconds // length)} {unit} ago")
    return Cell(when, "now")


def duration(seconds: float | None) -> Cell:
    """Return a cell of a duration in its two largest units: `3 h 12 min`, `45 s`, `0.2 s`."""
    if seconds is None:
        return Cell("", "")
    whole = round(seconds)
    for (length, unit), (shorter, name) in pairwise(((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))):
        if whole >= length:
            return Cell(repr(seconds), f"{whole // length} {unit} {whole % length // shorter} {name}")
    return Cell(repr(seconds), f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s")


def digest(value: str | None) -> Cell:
    """Return a cell of a digest, `label:` and 64 hex digits; in brief twelve digits, enough to look it up by."""
    label, _, digits = (value or "").rpartition(":")
    return Cell(value or "", f"{label}:{digits[:12]}" if label else digits[:12], whole=True)


def write_table(titles: Sequence[str], rows: Sequence[Sequence[Cell]], *, spared: Sequence[str] = ()) -> None:
    """Print rows on stdout, with a header on a terminal; an empty table prints nothing.

    spared: columns to leave out, in this order, on a terminal that has no room for all.
    """
    if not rows or not is_terminal(sys.stdout):
        write_rows(rows)
        return
    header = [Cell("", title.replace("_", " ").upper()) for title in titles]
    left_out = set(columns_without_room([header, *rows], [titles.index(title) for title in spared]))
    write_rows([[cell for n, cell in enumerate(row) if n not in left_out] for row in (header, *rows)])


def columns_without_room(rows: Sequence[Sequence[Cell]], spared: Sequence[int]) -> Sequence[int]:
    """Return the columns to leave out: the first few of `spared`, as many as needed for the others to have `ENOUGH`."""
    wanted = []
    for column in zip(*rows, strict=True):
        widest = max(0 if cell.below else width(cell.brief) for cell in column)
        wanted.append(len(GAP) + (widest if any(cell.whole for cell in column) else min(widest, ENOUGH)))
    excess, count = sum(wanted) - len(GAP) - shutil.get_terminal_size().columns, 0
    while excess > 0 and count < len(spared):
        excess -= wanted[spared[count]]
        count += 1
    return spared[:count]


def write_rows(rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows without a header."""
    if not is_terminal(sys.stdout):
        lines = ["\t".join(cell.full for cell in row) for row in rows]
    else:
        lines = fit(rows, shutil.get_terminal_size().columns)
    for line in lines:
        click.echo(paint(line), color=True)


def write_document(document: Mapping[str, object]) -> None:
    """Print a nested document: its values, then a table of each of its lists.

    If stdout is no terminal every line begins with its key.
    """
    lists = {key: value for key, value in document.items() if isinstance(value, list)}
    write_rows([[text(key), text(flat(value))] for key, value in document.items() if key not in lists])
    for key, items in lists.items():
        rows = [item if isinstance(item, dict) else {key: item} for item in items]
        cells = [[text(flat(value)) for value in row.values()] for row in rows]
        if not is_terminal(sys.stdout):
            write_rows([[text(key), *row] for row in cells])
        elif rows:
            click.echo()
            write_table(list(rows[0]), cells)


def flat(value: object) -> object:
    """Return a value for a cell: a list or dict as JSON, an empty one as ""."""
    return (json.dumps(value) if value else "") if isinstance(value, dict | list) else value


def fit(rows: Sequence[Sequence[Cell]], room: int) -> list[str]:
    """Return rows as lines of at most `room` terminal columns: the widest column is cut first, none below `NARROWEST`.

    A column with a `whole` cell is not cut. A `below` cell that does not fit beside the rest of its row is wrapped
    below it, and does not count for the width of its column.
    """
    columns = list(zip(*rows, strict=True))
    beside = [max(0 if cell.below else width(cell.brief) for cell in column) for column in columns]
    left = room - sum(beside) - len(GAP) * (len(beside) - 1)
    wrapped = [
        any(cell.below and width(cell.brief) > left + wide for cell, wide in zip(row, beside, strict=True))
        for row in rows
    ]
    kept = [
        [Cell("", "") if cell.below and down else cell for cell in row]
        for row, down in zip(rows, wrapped, strict=True)
    ]
    lines = []
    for row, down, line in zip(rows, wrapped, _in_columns(kept, room), strict=True):
        lines.append(line)
        if down:
            for cell in row:
                if cell.below:
                    lines += [INDENT + part for part in wrap(cell.brief, room - len(INDENT))]
    return lines


def wrap(words: str, room: int) -> list[str]:
    """Wrap text into lines of at most `room` columns, between words where possible."""
    lines, line = [], ""
    for word in words.split(" "):
        if line and width(f"{line} {word}") > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
        while width(line) > room:
            start = head(line, room) or line[:1]
            lines.append(start)
            line = line[len(start) :]
    return [*lines, line] if line else lines


def _in_columns(rows: Sequence[Sequence[Cell]], room: int) -> list[str]:
    """Return one line for each row, the columns aligned and cut to `room`."""
    columns = list(zip(*rows, strict=True))
    widths = [max(width(cell.brief) for cell in column) for column in columns]
    whole = [any(cell.whole for cell in column) for column in columns]
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - room
    while excess > 0:
        spare = [0 if kept else size for size, kept in zip(widths, whole, strict=True)]
        if max(spare) <= NARROWEST:
            break
        widths[spare.index(max(spare))] -= 1
        excess -= 1
    return [
        cut(GAP.join(pad(cell.brief, size) for cell, size in zip(row, widths, strict=True)).rstrip(), room)
        for row in rows
    ]


def pad(words: str, room: int) -> str:
    """Cut or pad text to exactly `room` columns."""
    kept = cut(words, room)
    return kept + " " * (room - width(kept))


def paint(line: str) -> str:
    """Return the line with its verdicts in colour, if stdout takes colour."""
    return (
        VERDICT.sub(lambda found: click.style(found[0], fg=COLOURS[found[0]], bold=True), line)
        if in_colour()
        else line
    )


def in_colour() -> bool:
    """Return whether stdout takes colour: NO_COLOR says never, FORCE_COLOR always, else a terminal does."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(sys.stdout)
