"""Options and arguments that several commands have, each written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llorch.commands.cli.completion import complete_reference

if TYPE_CHECKING:
    from llorch.formats.scan import Allowance

F = TypeVar("F", bound=Callable[..., Any])

DEVICES = ("auto", "cpu", "cuda", "mps")
LEVELS = ("quick", "full")

PATH: click.ParamType[Path] = click.Path(path_type=Path)


def registry_option(function: F) -> F:
    """--registry, which the function gets as `url`."""
    return click.option(
        "--registry", "url", metavar="URL", help="A file or a SQLAlchemy URL; see llorch-registry path."
    )(function)


def reference_argument(name: str = "reference", metavar: str = "REF") -> Callable[[F], F]:
    """A name, digest or run of the registry; shells complete its names."""
    return click.argument(
        name, metavar=metavar, required=not metavar.startswith("["), shell_complete=complete_reference
    )


def verify_option(help: str) -> Callable[[F], F]:
    """--verify, which the function gets as `level`, or "none"."""
    return click.option(
        "--verify",
        "level",
        type=click.Choice([*LEVELS, "none"]),
        default="quick",
        show_default=True,
        help=help,
    )


def device_option(help: str) -> Callable[[F], F]:
    """--device, which the function gets as `device`."""
    return click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help=help)


def allow_option(function: F) -> F:
    """--allow, which the function gets as a path or None; `allowances` reads it."""
    return click.option(
        "--allow", metavar="FILE.toml", type=PATH, help="Findings that somebody takes: which, who and why."
    )(function)


def allowances(path: Path | None) -> Sequence[Allowance]:
    """What --allow names; none without it. Raises InputError and OSError."""
    from llorch.formats.scan import read_allowances  # --help does not need it

    return [] if path is None else read_allowances(path)
