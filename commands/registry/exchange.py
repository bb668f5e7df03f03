"""`llorch-registry` export, merge and reproduce."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch.base.printable import printable
from llorch.commands import cli
from llorch.commands.cli import ChildFailed, Failure, digest
from llorch.commands.registry.output import NAME, host, open_registry, output_options, write_answer

if TYPE_CHECKING:
    from llorch.registry import Reproduction

commands = click.Group()  # `llorch.commands.registry.command` adds them to its group

FORMS = ("slsa", "cyclonedx", "cyclonedx-1.6", "cyclonedx-1.7", "spdx", "model-card")


@cli.subcommand(commands, "export", example=f"{NAME} export smollm2 --as cyclonedx -o smollm2.cdx.json")
@cli.reference_argument()
@click.option(
    "--as",
    "form",
    type=click.Choice(FORMS),
    required=True,
    help="The format; cyclonedx is the latest version, cyclonedx-1.7.",
)
@click.option("-o", "--output", metavar="FILE", type=cli.PATH, help="The file to write.  [default: stdout]")
@cli.registry_option
@output_options
def export(
    reference: str, form: str, output: Path | None, url: str | None, as_json: bool, output_format: str | None
) -> None:
    """Write REF's provenance, bill of materials, or model card.

    As SLSA provenance, a bill of materials in CycloneDX or SPDX 3 AI, or Markdown, on stdout or to a file.
    """
    with open_registry(url) as store:
        document = store.export(reference, form)  # type: ignore[arg-type]  # click has checked it
    if output is not None:
        cli.write_file(output, document)
    content = {"content": document.decode()} if output is None else {"file": os.fspath(output)}
    shown_as_it_is = None if output is not None else document
    write_answer(
        {"schema": "llorch.export/v1", "as": form, **content},
        lambda: click.echo(shown_as_it_is, nl=False),
        as_json,
        output_format,
    )


@cli.subcommand(
    commands, "merge", example=f"{NAME} merge laptop/registry.db --registry postgresql://team/llorch"
)
@click.argument("other", metavar="OTHER")
@cli.registry_option
@output_options
def merge(other: str, url: str | None, as_json: bool, output_format: str | None) -> None:
    """Add all that OTHER, a file or a URL, knows.

    Neither order nor repetition matters; OTHER stays as it is. Where things lie is not merged: that is true of one
    machine.
    """
    if "://" not in other and not Path(other).is_file():
        raise FileNotFoundError(2, "there is no such registry", other)
    with open_registry(url) as store, open_registry(other, drain_spool=False) as theirs:
        merged = store.merge(theirs)
    for name, (before, after) in merged.moved.items():
        means = digest(after).brief if after else "nothing"
        cli.note(NAME, f"{name} means {means} now; before, {digest(before).brief}")
    line = f"merged     {merged.artifacts} artifacts, {merged.runs} runs, {merged.events} names"
    write_answer(merged.to_json(), lambda: click.echo(line), as_json, output_format)


@cli.subcommand(
    commands,
    "reproduce",
    example=f"{NAME} reproduce run:0f2a91c7be33",
)
@cli.reference_argument(metavar="RUN")
@click.option("--dry-run", is_flag=True, help="Only print the command.")
@cli.registry_option
@output_options
def reproduce(
    reference: str, dry_run: bool, url: str | None, as_json: bool, output_format: str | None
) -> int:
    """Convert again as RUN did, and compare the digests.

    The new folder is temporary. Its input has to be somewhere on this machine still, byte for byte. Ends with 1 if
    the weights differ; equal weights in other files are said to be, and so are tools of another version.
    """
    with open_registry(url) as store:
        wanted = store.reproduction(reference, host())
    made = None
    if not dry_run:
        wanted = wanted.from_whole_input()
        made = convert_again(wanted)
    if made is None:
        line = " ".join(printable(word, 4096, quoted=" " in word) for word in wanted.arguments)
    else:
        same = [name for name in ("weights", "tree") if made[name] == getattr(wanted, name)]
        line = f"reproduced {' and '.join(same) or 'nothing'}  ({digest(made['tree']).brief})"
    write_answer({**wanted.to_json(), "made": made}, lambda: click.echo(line), as_json, output_format)
    for name, version in (made["tools"] if made else {}).items():
        if wanted.tools.get(name) != version:
            cli.note(NAME, f"{name} is {version} here, was {wanted.tools.get(name, 'not there')}")
    return 0 if made is None or made["weights"] == wanted.weights else 1


def convert_again(wanted: Reproduction) -> dict[str, Any]:
    """Repeat a conversion in a new process, into a temporary folder and registry; return its digests and tools.

    Raises ChildFailed with the child's own failure.
    """
    with tempfile.TemporaryDirectory(prefix="llorch-reproduce-") as folder:
        ends = ["-o", f"{folder}/made", "--verify", "none", "--registry", f"{folder}/registry.db", "--json"]
        # Quietly: its stderr has the warnings of the original run, and the error that --json prints too.
        child = cli.run_command("convert", *wanted.arguments[1:], *ends, quietly=True)
        if child.returncode < 0:
            raise ChildFailed(Failure(5, "stopped", f"the conversion ended by signal {-child.returncode}"))
        document = json.loads(child.stdout)
        if child.returncode != 0:
            raise ChildFailed(Failure.from_json(document))
        return {name: document["conversion"][name] for name in ("tree", "weights", "tools")}
