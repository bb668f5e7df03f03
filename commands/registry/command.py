"""`llorch-registry`: look up what was converted from what, and how it was checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from llorch.base.printable import printable
from llorch.commands import cli
from llorch.commands.cli import Cell, age, digest, size, text, write_document
from llorch.commands.ledger import adopt_folder, checked_name, registry_location
from llorch.commands.registry import changes, exchange, policy, queries
from llorch.commands.registry.output import (
    NAME,
    Since,
    open_registry,
    output_options,
    write_answer,
    write_answers,
)
from llorch.commands.registry.reading import write_artifact

if TYPE_CHECKING:
    from llorch.registry import ArtifactAnswer, ListedArtifact, Location, RunAnswer

# Columns left out on a narrow terminal, in this order: names and digests are needed most.
SPARED = ("source", "dtype", "format", "made")
TITLES = ("name", "format", "dtype", "size", "source", "verified", "made", "digest")

KINDS = ("gguf", "gguf-split", "hf-folder", "adapter", "file")

SORTS: Mapping[str, Callable[[ListedArtifact], Any]] = {
    "made": lambda row: row.at,
    "name": lambda row: (not row.names, list(row.names)),
    "size": lambda row: row.size_bytes,
}


@cli.group(NAME, example=f"{NAME} list")
def main() -> None:
    """Look up conversions: which folder came from which file, by which run, and what was checked."""


for part in (queries, changes, policy, exchange):
    main.commands.update(part.commands.commands)


@cli.subcommand(main, "list", example=f"{NAME} list --verified FAILED --since 7d\n{NAME} list --sort size")
@cli.registry_option
@output_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=30, show_default=True, help="Rows to show, at most."
)
@click.option(
    "--sort", type=click.Choice(list(SORTS)), help="Order of the rows, upwards.  [default: the latest first]"
)
@click.option("--name", help="Only what this name means.")
@click.option("--kind", type=click.Choice(KINDS), help="Only this format.")
@click.option("--architecture", help="Only this architecture, as llama.")
@click.option("--dtype", help="Only this type of weights, as Q4_K.")
@click.option(
    "--verified",
    type=click.Choice(["PASSED", "FAILED", "INCOMPLETE"]),
    help="Only what was verified with this result.",
)
@click.option("--since", type=Since(), help="Only what was made since then: 2026-11-01, or 7d, 12h ago.")
def list_(
    url: str | None, limit: int, sort: str | None, as_json: bool, output_format: str | None, **wanted: Any
) -> None:
    """List what was made, the latest first."""
    from llorch.converter import DTYPE_ALIASES
    from llorch.registry import Filter  # SQLAlchemy

    wanted["dtype"] = DTYPE_ALIASES.get(wanted["dtype"], wanted["dtype"])
    with open_registry(url) as store:
        found = store.list(Filter(**wanted), limit=None if sort else limit)
    if sort:
        found = sorted(found, key=SORTS[sort])[:limit]
    signed = any(row.signers for row in found)
    titles = (*TITLES, "signed by") if signed else TITLES
    cells = (lambda row: (*row_of(row), signers(row.signers))) if signed else row_of
    write_answers("list", "artifacts", found, titles, cells, as_json, output_format, spared=SPARED)
    if not found:
        cli.note(NAME, why_empty(url, wanted))


def why_empty(url: str | None, wanted: Mapping[str, Any]) -> str:
    """Return why a list is empty: nothing recorded, no such architecture or dtype (with those there are), no match."""
    from llorch.registry import Filter  # as above

    where = registry_location(url).shown
    with open_registry(url) as store:
        every = store.list(Filter(), limit=None)
    if not every:
        return f"nothing is recorded in {where}"
    asked = [f"--{name} {value}" for name, value in wanted.items() if value is not None and name != "since"]
    asked += ["--since"] if wanted["since"] is not None else []
    for name in ("architecture", "dtype"):
        known = sorted({getattr(row, name) for row in every} - {None})
        if wanted[name] is not None and wanted[name] not in known:
            return (
                f"no {name} {printable(wanted[name])} is recorded in {where}; there are: {', '.join(known)}"
            )
    return f"none of the {len(every)} recorded in {where} passes {' '.join(asked)}"


@cli.subcommand(main, "show", example=f"{NAME} show smollm2@latest\n{NAME} show sha256:b179c95")
@cli.reference_argument()
@cli.registry_option
@output_options
def show(reference: str, url: str | None, as_json: bool, output_format: str | None) -> None:
    """Show all that is recorded of REF.

    REF is a name, name@alias, the first digits of a digest, a run or a path.
    """
    with open_registry(url) as store:
        answer = store.show(reference)
    write_answer(answer.to_json(), lambda: write_shown(answer), as_json, output_format)


def write_shown(answer: ArtifactAnswer | RunAnswer) -> None:
    """Print an artifact or a run, for a person; if stdout is no terminal, one "key value" line each."""
    if is_artifact(answer) and cli.is_terminal(sys.stdout):
        write_artifact(answer)
    else:
        write_document(readable(answer.to_json()))


def is_artifact(answer: ArtifactAnswer | RunAnswer) -> TypeGuard[ArtifactAnswer]:
    """Return whether the answer is an artifact, not a run."""
    from llorch.registry import ArtifactAnswer  # SQLAlchemy

    return isinstance(answer, ArtifactAnswer)


@cli.subcommand(main, "path", example=f"{NAME} path")
@cli.registry_option
@output_options
def path(url: str | None, as_json: bool, output_format: str | None) -> None:
    """Say which registry is used, and why.

    It is what --registry names, else what LLORCH_REGISTRY names, else ./registry.db if it is there, else
    registry.db in the platform's data folder.
    """
    location = registry_location(url)
    document = {"schema": "llorch.path/v1", "registry": location.shown, "why": location.why}
    write_answer(document, lambda: write_path(location), as_json, output_format)


def write_path(location: Location) -> None:
    """Print the registry on stdout, for scripts, and why it is the one on stderr."""
    click.echo(location.shown)
    cli.note(NAME, location.why)


@cli.subcommand(main, "adopt", example=f"{NAME} adopt smollm2")
@click.argument("folder", metavar="DIR", type=cli.PATH)
@click.option("--name", callback=checked_name, help="Its name in the registry.  [default: the folder's]")
@cli.registry_option
@output_options
def adopt(folder: Path, name: str | None, url: str | None, as_json: bool, output_format: str | None) -> None:
    """Record DIR, a converted folder, by its conversion.json.

    Its files are compared with that first.
    """
    recorded = adopt_folder(folder, name, registry_location(url))
    line = f"recorded   {recorded.name}  ({digest(recorded.digest).brief}, in {recorded.registry})"
    document = {"schema": "llorch.adopt/v1", **recorded.to_json()}
    write_answer(document, lambda: click.echo(line), as_json, output_format)


def readable(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer for a person: its checks reduced to name, status and numbers, in the order given."""
    checks = [check.get("result", check) for check in answer["checks"]]
    kept = ("name", "status", "value", "op", "threshold", "unit")
    return {**answer, "checks": [{key: check[key] for key in kept} for check in checks]}


def signers(found: Sequence[str]) -> Cell:
    """Return a cell of the verified signers; in brief, a key's fingerprint is cut."""
    return Cell(" ".join(found), ", ".join(one[:16] if one.startswith("key:") else one for one in found))


def row_of(row: ListedArtifact) -> Sequence[Cell]:
    """Return the table row of one artifact."""
    listed = row.to_json()
    return (
        text(", ".join(name.removesuffix("@latest") for name in row.names)),
        text(" ".join(filter(None, [row.architecture, row.kind]))),
        text(row.dtype),
        size(row.size_bytes),
        text(row.source),
        Cell(row.verified or "", row.verified or "", whole=True),
        age(str(listed["at"])),
        digest(row.digest),
    )
