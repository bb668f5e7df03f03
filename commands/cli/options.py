"""Options and arguments that several commands share."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llorch.base.printable import printable
from llorch.commands.cli.completion import complete_reference

if TYPE_CHECKING:
    from llorch.formats.scan import Allowance

F = TypeVar("F", bound=Callable[..., Any])

DEVICES = ("auto", "cpu", "cuda", "mps")
LEVELS = ("quick", "full")


class PathType(click.Path):
    """A path that, made absolute, is valid UTF-8 without line ends or control characters.

    conversion.json, the registry and the lines on stderr name files as text: a path that cannot be written as
    text is refused before any work is done.
    """

    def __init__(self, *, file_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, readable=False)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the Path; a usage error for one that isn't UTF-8 or has a line end or control character."""
        whole = os.path.abspath(value)  # noqa: PTH100  # resolve() would follow links
        try:
            whole.encode()
        except UnicodeEncodeError:
            self.fail(f"{printable(whole, 200)} is not UTF-8: rename it, or reach it by a link", param, ctx)
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in whole):
            what = "has a line end or control character: rename it, or reach it by a link"
            self.fail(f"{printable(whole, 200)} {what}", param, ctx)
        return super().convert(value, param, ctx)


PATH = PathType()


class SizeType(click.ParamType[int]):
    """A size in bytes, with or without a unit: 5GB, 512MiB, 100000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes, at least one."""
        from llorch.converter import parse_size  # imports NumPy, which --help does not need

        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = SizeType()


def registry_option(function: F) -> F:
    """Add --registry, passed to the function as `url`."""
    return click.option(
        "--registry",
        "url",
        metavar="URL",
        help="The registry: a file or an SQLAlchemy URL; see llorch-registry path.",
    )(function)


def trust_option(function: F) -> F:
    """Add --trust-config, passed to the function as `trust`."""
    return click.option(
        "--trust-config",
        "trust",
        metavar="FILE.json",
        type=PATH,
        help="Another Sigstore than the public one, as its client trust configuration.",
    )(function)


def reference_argument(name: str = "reference", metavar: str = "REF") -> Callable[[F], F]:
    """Add an argument for a name, digest or run of the registry; shells complete the names."""
    return click.argument(
        name, metavar=metavar, required=not metavar.startswith("["), shell_complete=complete_reference
    )


def verify_option(help: str) -> Callable[[F], F]:
    """Add --verify, passed to the function as `level`: "quick", "full" or "none"."""
    return click.option(
        "--verify",
        "level",
        type=click.Choice([*LEVELS, "none"]),
        default="quick",
        show_default=True,
        help=help,
    )


class Device(click.ParamType[str]):
    """A device: auto, cpu, cuda, mps, or a GPU by number (cuda:1).

    several: whether a comma-separated list of GPUs is allowed.
    """

    name = "device"

    def __init__(self, *, several: bool) -> None:
        self.several = several

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002 click's own
        """Return the choices as --help shows them."""
        return f"[{'|'.join(DEVICES)}|cuda:N{'[,cuda:M…]' if self.several else ''}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name unchanged; a usage error for an unknown one."""
        one = r"cuda:\d{1,3}"
        known = re.fullmatch(rf"{one}(,{one})*" if self.several else one, value)
        if value not in DEVICES and not known:
            some = ", several of which take commas" if self.several else ""
            self.fail(f"{value!r} is no device; known are {', '.join(DEVICES)} and cuda:N{some}", param, ctx)
        return value


def device_option(help: str, *, several: bool = False) -> Callable[[F], F]:
    """Add --device, passed to the function as `device`. several: whether a model may be split over several GPUs."""
    return click.option(
        "--device", type=Device(several=several), default="auto", show_default=True, help=help
    )


def mode_option(default: str) -> Callable[[F], F]:
    """Add --mode, passed to the function as `mode`; each command has its own default."""
    return click.option(
        "--mode",
        type=click.Choice(["exact", "verify", "fast"]),
        default=default,
        show_default=True,
        help="exact has activations in float32, verify in two int8 planes, fast in one, as llama.cpp does. With "
        "weights that are floats a processor is exact in each; a GPU has no verify mode, and computes it exactly.",
    )


def allow_option(function: F) -> F:
    """Add --allow, passed to the function as a path or None; `allowances` reads the file."""
    return click.option(
        "--allow",
        metavar="FILE.toml",
        type=PATH,
        help="Findings of the scan that somebody accepted: which, who and why.",
    )(function)


def allowances(path: Path | None) -> Sequence[Allowance]:
    """Read the allowances of the --allow file; empty without one. Raises InputError and OSError."""
    from llorch.formats.scan import read_allowances  # imported here to keep --help fast

    return [] if path is None else read_allowances(path)
