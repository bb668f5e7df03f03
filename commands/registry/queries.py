"""`llorch-registry`'s read-only queries: lineage, whence, history, diff, affected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch.base.printable import printable
from llorch.base.times import rfc3339
from llorch.commands import cli
from llorch.commands.cli import Cell, age, digest, text
from llorch.commands.ledger import registry_location
from llorch.commands.registry.output import NAME, open_registry, output_options, write_answer, write_answers
from llorch.commands.registry.reading import write_diff

if TYPE_CHECKING:
    from llorch.registry import Affected, Identification, Lineage, ListedRun, SourceRecord, TensorRecord

commands = click.Group()  # `llorch.commands.registry.command` adds them to its group

RUN_TITLES = ("run", "kind", "status", "started", "source", "inputs", "outputs", "error")
WHENCE_TITLES = ("path", "known by", "is", "made from", "sources")
AFFECTED_TITLES = ("digest", "names", "architecture", "directly", "where")


@cli.subcommand(
    commands, "lineage", example=f"{NAME} lineage smollm2\n{NAME} lineage smollm2 --svg > smollm2.svg"
)
@cli.reference_argument()
@click.option("--dot", "picture", flag_value="dot", help="Print it in the language of Graphviz.")
@click.option("--svg", "picture", flag_value="svg", help="Print it as an SVG picture.")
@cli.registry_option
@output_options
def lineage(
    reference: str, picture: str | None, url: str | None, as_json: bool, output_format: str | None
) -> None:
    """Show what REF came from, what came from it, and each check."""
    with open_registry(url) as store:
        found = store.lineage(reference)
    write_answer(
        found.to_json(),
        lambda: click.echo(drawing(found, picture), nl=False, color=True),
        as_json,
        output_format,
    )


def drawing(found: Lineage, picture: str | None) -> str:
    """Return a lineage as a text tree, or as Graphviz ("dot") or SVG."""
    from llorch.registry.export import drawing  # SQLAlchemy, as every answer

    if picture is None:
        return cli.paint(f"{drawing.as_tree(found)}\n")
    return drawing.as_dot(found) if picture == "dot" else drawing.as_svg(found)


@cli.subcommand(commands, "whence", example=f"{NAME} whence unknown.gguf downloads/model")
@click.argument("paths", metavar="FILE…", nargs=-1, required=True, type=cli.PATH)
@cli.registry_option
@output_options
def whence(paths: tuple[Path, ...], url: str | None, as_json: bool, output_format: str | None) -> int:
    """Say what files or folders are, and where they came from.

    They are hashed, and known by their content. A file or folder with another template, name, card, order or number
    of files is known by its weights, and what differs is said; one with changed weights by the tensors that it
    shares. Ends with 1 if one of them is unknown, and with the code of the first that cannot be read, after the
    answers for the others.
    """
    found: list[Identification] = []
    failed: list[OSError] = []
    with open_registry(url) as store:
        for path in paths:
            try:
                with cli.progress(f"hashing {path.name}") as progress:
                    tensors, metadata = gguf_digests(path)
                    found.append(store.whence(path, progress, tensors=tensors, metadata=metadata))
            except OSError as error:
                failed.append(error)
    if failed and not found:
        raise failed[0]
    write_answers("whence", "answers", found, WHENCE_TITLES, whence_row, as_json, output_format)
    failures = [cli.failure(error, NAME) for error in failed]
    for one in failures:
        cli.note(NAME, one.message)
    if failures:
        return failures[0].exit_code
    return 0 if all(one.known for one in found) else 1


def gguf_digests(path: Path) -> tuple[list[TensorRecord], dict[str, str]]:
    """Hash the tensors and metadata of a GGUF file or folder of parts; empty for another or a malformed file."""
    from llorch.base.errors import InputError
    from llorch.formats.gguf import metadata_digests, read_header, tensor_digests  # --help does not need them
    from llorch.registry import TensorRecord

    if path.is_dir():
        path = next(iter(sorted(path.glob("*.gguf"))), path)
    if not path.is_file() or not starts_as_gguf(path):
        return [], {}
    try:
        header = read_header(path)
        tensors = [
            TensorRecord(one.name, one.dtype, one.shape, one.file, one.offset, one.size, one.sha256)
            for one in tensor_digests(header)
        ]
    except InputError:  # the file is still looked up by its bytes
        return [], {}
    return tensors, metadata_digests(header.metadata)


def starts_as_gguf(path: Path) -> bool:
    """Return whether a file starts with GGUF's magic bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def whence_row(found: Identification) -> Sequence[Cell]:
    """Return the table row of one path, with the recorded artifact most similar to it."""
    best = found.origins[0] if found.origins else None
    if best is None:
        return (text(found.path), text("unknown"), digest(found.digest), text(""), text(""))
    known = found.known if found.known != "tensors" else f"{best.equal} of {best.of} tensors"
    if best.differs:
        more = f" and {len(best.differs) - 3} more" if len(best.differs) > 3 else ""
        known = f"{known}, but for {', '.join(best.differs[:3])}{more}"
    names = Cell(", ".join(best.names) or best.digest, ", ".join(best.names) or digest(best.digest).brief)
    return (
        text(found.path),
        text(known if found.known != "file" else f"file {best.file}"),
        names,
        Cell(" ".join(best.made_from), " ".join(digest(one).brief for one in best.made_from)),
        text(" ".join(map(source_text, best.sources))),
    )


def source_text(source: SourceRecord) -> str:
    """Return a download's repository, path and revision; --json also has the expected and actual digests."""
    revision = f"@{source.revision_resolved}" if source.revision_resolved else ""
    return f"{source.repository}/{source.path}{revision}"


@cli.subcommand(commands, "history", example=f"{NAME} history\n{NAME} history smollm2 --kind verify")
@cli.reference_argument(metavar="[REF]")
@click.option(
    "--kind",
    type=click.Choice(["fetch", "convert", "verify", "adopt", "export"]),
    help="Only runs of this kind.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=30, show_default=True, help="Rows to show, at most."
)
@cli.registry_option
@output_options
def history(
    reference: str | None,
    kind: str | None,
    limit: int,
    url: str | None,
    as_json: bool,
    output_format: str | None,
) -> None:
    """List runs, the latest first, also those that failed.

    All of them, or those that REF took part in.
    """
    with open_registry(url) as store:
        found = store.history(reference, kind=kind, limit=limit)  # type: ignore[arg-type]  # click has checked it
    spared = ("source", "inputs", "outputs")
    write_answers("history", "runs", found, RUN_TITLES, run_row, as_json, output_format, spared=spared)
    if not found:
        asked = " ".join(filter(None, [f"--kind {kind}" if kind else "", reference]))
        where = registry_location(url).shown
        cli.note(
            NAME, f"no run of {asked} is recorded in {where}" if asked else f"no run is recorded in {where}"
        )


def run_row(run: ListedRun) -> Sequence[Cell]:
    """Return the table row of one run; in brief the end of its id, since ids of the same minute start alike."""
    return (
        Cell(run.uid, f"run:{run.uid[-12:]}"),
        text(run.kind),
        text(run.verdict if run.kind == "verify" and run.status == "succeeded" else run.status),
        age(rfc3339(run.started_at)),
        text(run.source),
        Cell(" ".join(run.inputs), " ".join(digest(one).brief for one in run.inputs)),
        Cell(" ".join(run.outputs), " ".join(digest(one).brief for one in run.outputs)),
        text(run.error),
    )


@cli.subcommand(commands, "diff", example=f"{NAME} diff smollm2 smollm2~1")
@cli.reference_argument("first", "A")
@cli.reference_argument("second", "B")
@cli.registry_option
@output_options
def diff(first: str, second: str, url: str | None, as_json: bool, output_format: str | None) -> int:
    """Show in which facts, files and tensors A and B differ. Ends with 1 if they do."""
    with open_registry(url) as store:
        found = store.diff(first, second)
    document = found.to_json()
    write_answer(document, lambda: write_diff(found, first, second), as_json, output_format)
    return 0 if found.is_equal else 1


@cli.subcommand(commands, "affected", example=f"{NAME} affected --builder 'llorch<0.3' --architecture phi3")
@click.option(
    "--builder", metavar="TOOL", required=True, help="A tool and its versions, as 'llorch>=0.1,<0.3'."
)
@click.option("--architecture", help="Only models of this architecture, and what was made of them.")
@cli.registry_option
@output_options
def affected(
    builder: str, architecture: str | None, url: str | None, as_json: bool, output_format: str | None
) -> int:
    """List what versions of a tool made, and what was made of that.

    Ends with 1 if there is any.
    """
    with open_registry(url) as store:
        found = store.affected(builder, architecture)
    write_answers("affected", "artifacts", found, AFFECTED_TITLES, affected_row, as_json, output_format)
    if not found:
        of = f" of {printable(architecture)}" if architecture else ""
        cli.note(NAME, f"nothing recorded{of} was made by {printable(builder)}")
    return 1 if found else 0


def affected_row(found: Affected) -> Sequence[Cell]:
    """Return the table row of one artifact, with the places where it may still be in use."""
    return (
        digest(found.digest),
        text(", ".join(found.names)),
        text(found.architecture),
        text("yes" if found.directly else "no"),
        text(" ".join(found.places)),
    )
