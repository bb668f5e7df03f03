"""`llorch-registry` alias, tag, rm, prune, verify and migrate: names, files on disk, and the schema."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from llorch.base.printable import printable
from llorch.base.times import rfc3339
from llorch.commands import cli
from llorch.commands.cli import Cell, age, digest, size, text
from llorch.commands.registry.output import (
    NAME,
    host,
    open_registry,
    output_options,
    user,
    write_answer,
    write_answers,
)

if TYPE_CHECKING:
    from llorch.registry import AliasChange, Integrity, Prunable

commands = click.Group()  # `llorch.commands.registry.command` adds them to its group

ALIAS_TITLES = ("name", "means", "since", "by", "reason")
VERIFY_TITLES = ("path", "outcome", "names", "damage")
PRUNE_TITLES = ("path", "size", "digest")

reason_option = click.option("--reason", help="Why, for the log.")


@cli.subcommand(commands, "alias", example=f"{NAME} alias smollm2@prod\n{NAME} alias smollm2")
@cli.reference_argument("name", "NAME[@ALIAS]")
@cli.registry_option
@output_options
def alias(name: str, url: str | None, as_json: bool, output_format: str | None) -> None:
    """Show what a name's aliases meant, and when.

    The latest change comes first; `tag` makes one.
    """
    with open_registry(url) as store:
        found = store.alias_log(name)
    write_answers("alias", "changes", found, ALIAS_TITLES, alias_row, as_json, output_format)


def alias_row(change: AliasChange) -> Sequence[Cell]:
    """Return the table row of one change."""
    means = digest(change.digest) if change.digest else text("nothing")
    return (text(change.name), means, age(rfc3339(change.at)), text(change.actor), text(change.reason))


@cli.subcommand(
    commands,
    "tag",
    example=f"{NAME} tag smollm2 smollm2@prod --reason 'passed full'\n{NAME} tag smollm2@prod~1 smollm2@prod",
)
@cli.reference_argument()
@cli.reference_argument("name", "NAME[@ALIAS]")
@reason_option
@cli.registry_option
@output_options
def tag(
    reference: str, name: str, reason: str | None, url: str | None, as_json: bool, output_format: str | None
) -> None:
    """Let a name mean REF from now on.

    What it meant before stays in its log, as NAME@ALIAS~1.
    """
    with open_registry(url) as store:
        means = store.set_alias(name, reference, actor=user(), reason=reason)
    document = {"schema": "llorch.tag/v1", "name": name, "digest": means}
    line = f"tagged     {name}  ({digest(means).brief})"
    write_answer(document, lambda: click.echo(line), as_json, output_format)


@cli.subcommand(commands, "rm", example=f"{NAME} rm smollm2@prod --reason 'wrong template'")
@cli.reference_argument("name", "NAME[@ALIAS]")
@reason_option
@cli.registry_option
@output_options
def rm(name: str, reason: str | None, url: str | None, as_json: bool, output_format: str | None) -> None:
    """Take a name away. What it meant stays recorded, and its bytes stay too until `prune`."""
    with open_registry(url) as store:
        store.set_alias(name, None, actor=user(), reason=reason)
    document = {"schema": "llorch.rm/v1", "name": name}
    write_answer(document, lambda: click.echo(f"removed    {name}"), as_json, output_format)


@cli.subcommand(commands, "prune", example=f"{NAME} prune --dry-run\n{NAME} prune -y")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@cli.registry_option
@output_options
def prune(dry_run: bool, yes: bool, url: str | None, as_json: bool, output_format: str | None) -> None:
    """Delete converted folders that no name means.

    What is recorded of them stays. Only folders on this machine that hold what is recorded and nothing else; never
    a source or a download.
    """
    with open_registry(url) as store:
        found = store.prune(host(), remove=False)
        if found and not dry_run:
            if not yes:
                confirm(f"remove {len(found)} folders, {size(sum(one.size_bytes for one in found)).brief}")
            left = {one.path for one in found}
            found = store.prune(host(), remove=True)
            for path in sorted(left - {one.path for one in found}):
                cli.note(
                    NAME,
                    f"{printable(path, 200, quoted=False)} is left: it is not what is recorded, or not there",
                )
    if not found:
        cli.note(NAME, "nothing to prune: no folder here is without a name")
    write_answers("prune", "folders", found, PRUNE_TITLES, prune_row, as_json, output_format)


def confirm(what: str) -> None:
    """Ask for confirmation on the terminal; raise UsageError if stdin is no terminal or the answer is no."""
    with contextlib.suppress(click.Abort):  # end of input
        if cli.is_terminal(sys.stdin) and click.confirm(f"{what.capitalize()}?", err=True):
            return
    raise click.UsageError(f"nothing was done: -y is needed to {what}")


def prune_row(found: Prunable) -> Sequence[Cell]:
    """Return the table row of one folder."""
    return (text(found.path), size(found.size_bytes), digest(found.digest))


@cli.subcommand(commands, "verify", example=f"{NAME} verify smollm2\n{NAME} verify --quick")
@click.argument("references", metavar="[REF…]", nargs=-1, shell_complete=cli.complete_reference)
@click.option(
    "--quick/--full", help="Compare names and sizes, which proves nothing; or every byte.  [default: full]"
)
@cli.registry_option
@output_options
def verify(
    references: tuple[str, ...], quick: bool, url: str | None, as_json: bool, output_format: str | None
) -> int:
    """Compare what lies on this machine with what is recorded.

    REF, or everything that was seen here. Nothing is fetched. Damage is named by file and tensor. Ends with 1 if
    there is any.
    """
    found: list[Integrity] = []
    with open_registry(url) as store, cli.progress("reading") as progress:
        for reference in references or (None,):
            level = "quick" if quick else "full"
            found += store.verify(host(), reference, level=level, progress=progress)  # type: ignore[arg-type]
    write_answers("integrity", "places", found, VERIFY_TITLES, verify_row, as_json, output_format)
    return 0 if all(one.is_intact for one in found) else 1


def verify_row(found: Integrity) -> Sequence[Cell]:
    """Return the table row of one place, with its damage."""
    outcome = "GONE" if found.is_gone else "DAMAGED" if found.damages else "INTACT"
    if not found.damages and found.level == "quick":
        outcome = "NOT VERIFIED"
    damages = [
        f"{one.file}: {one.tensor or one.what}" + (f" (bytes {one.start} to {one.end})" if one.tensor else "")
        for one in found.damages
    ]
    return (text(found.path), text(outcome), text(", ".join(found.names)), text("; ".join(damages)))


@cli.subcommand(commands, "migrate", example=f"{NAME} migrate --registry postgresql://team/llorch")
@cli.registry_option
@output_options
def migrate(url: str | None, as_json: bool, output_format: str | None) -> None:
    """Bring a registry's tables to this version's schema.

    A new database gets them. An SQLite file is brought there whenever it is opened, after a copy; a server only by
    this command.
    """
    with open_registry(url, drain_spool=False) as store:
        before, after = store.migrate()
    line = f"schema     {before or 'none'} → {after}" if before != after else f"schema     {after} already"
    document = {"schema": "llorch.migrate/v1", "before": before, "after": after}
    write_answer(document, lambda: click.echo(line), as_json, output_format)
