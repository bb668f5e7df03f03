"""`llorch-verify`: every check of a folder against the GGUF file it was made from, with values and limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import verification
from commands import console
from commands.tables import Cell, text, write_table

if TYPE_CHECKING:
    from verification import Report

NAME = "llorch-verify"


@console.command(NAME, example=f"{NAME} smollm2 --against SmolLM2-135M-Instruct.Q4_1.gguf --level full")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The .gguf file it was made from.  [default: the one conversion.json names, if unchanged]",
)
@click.option(
    "--level",
    type=click.Choice(["quick", "full"]),
    default="quick",
    show_default=True,
    help="quick looks at a part of a large model, full at all of it.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where the two readings are computed. auto: cuda if it is there, else cpu.",
)
def main(artifact: Path, against: Path | None, level: str, device: str, as_json: bool) -> int:
    """Check ARTIFACT, a converted folder, and say what was measured and how much is allowed."""
    report = verification.verify(artifact, against, level=level, device=device)
    if as_json:
        console.write_json(report.to_json())
    else:
        write_table(("check", "status", "value", "at most", "unit", "where and what"), rows(report))
        console.note(NAME, f"{artifact}: {report.outcome}: {report.sentence}")
    return 1 if report.outcome == "FAILED" else 0


def rows(report: Report) -> list[list[Cell]]:
    """One row a check."""
    return [
        [
            text(result.name),
            text(result.status),
            number(result.value),
            number(result.at_most),
            text(result.unit),
            text("; ".join(filter(None, [result.where, result.detail]))),
        ]
        for result in report.results
    ]


def number(value: float | None) -> Cell:
    """A measured value: whole numbers as such, others with two digits for a person."""
    if value is None:
        return Cell("", "–")
    whole = float(value).is_integer() and abs(value) < 1e6
    return Cell(repr(value), f"{value:.0f}" if whole else f"{value:.2g}")


if __name__ == "__main__":
    main()
