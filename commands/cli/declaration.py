"""How every command is declared, how it ends, and what it prints where.

Results go to stdout, as text or with --json as one document; everything else goes to stderr. A command's
function returns its exit code and raises what it cannot handle; `exit_codes` maps the exception to an exit code.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

import click

from llorch.base.version import __version__
from llorch.base.whole_file import write_whole
from llorch.commands.cli.completion import completion_variable
from llorch.commands.cli.exit_codes import OutputError, failure, one_line
from llorch.commands.cli.signals import Signalled, end_by, end_by_broken_pipe, signals_raised
from llorch.commands.cli.streams import drop_output, open_closed_streams

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

F = TypeVar("F", bound=Callable[..., Any])


class GuardedCommand(click.Command):
    """A click command that always ends with one of `exit_codes.EXIT_CODES`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002  # click's signature
        **_: Any,
    ) -> NoReturn:
        """Run the command and end the process."""
        closed = open_closed_streams()
        args = list(sys.argv[1:] if args is None else args)
        name = prog_name or self.name or "llorch"
        self._main_shell_completion({}, name, complete_var or completion_variable(name))
        try:
            with quiet_warnings(), signals_raised():
                code = self.run(args, name)
                sys.stdout.flush()
        except Signalled as error:
            note(name, f"stopped by signal {error.number}")
            end_by(error.number)
        except BrokenPipeError:
            end_by_broken_pipe()
        except Exception as error:  # noqa: BLE001  # the one place where every error is handled
            if "stdout" in closed and isinstance(error, OSError) and error.errno == errno.EBADF:
                error = OutputError(errno.EBADF, "is closed", "stdout")
                drop_output()
            code = fail(error, name, args)
        sys.exit(code)

    def run(self, args: list[str], name: str) -> int:
        """Run the command and return its exit code.

        Click's own `main` isn't used because it turns a broken pipe into a failure.
        """
        try:
            with self.make_context(name, args.copy()) as context:  # click empties the list
                return self.invoke(context) or 0
        except click.exceptions.Exit as end:  # --help and --version
            return end.exit_code
        except click.exceptions.NoArgsIsHelpError as alone:
            click.echo(alone.ctx.get_help())
            return 2


class GuardedGroup(GuardedCommand, click.Group):
    """A group of commands that ends as a `GuardedCommand` does."""


def command(
    name: str, example: str, cls: type[GuardedCommand] = GuardedCommand
) -> Callable[[F], GuardedCommand]:
    """Declare a function as a program of its own; its docstring is the help."""

    def decorate(function: F) -> GuardedCommand:
        made = click.command(
            name, cls=cls, context_settings=SETTINGS, epilog=epilog(example), no_args_is_help=True
        )(function)
        made.params += [*shared_options(), version_option(name)]
        return made

    return decorate


def group(name: str, example: str, cls: type[GuardedGroup] = GuardedGroup) -> Callable[[F], GuardedGroup]:
    """Declare a function as a group of commands; without a subcommand it prints its help."""

    def decorate(function: F) -> GuardedGroup:
        made = click.group(
            name, cls=cls, context_settings=SETTINGS, epilog=epilog(example), no_args_is_help=True
        )(function)
        made.params.append(version_option(name))
        return made

    return decorate


def subcommand(parent: click.Group, name: str, example: str) -> Callable[[F], click.Command]:
    """Declare a function as a subcommand of a group."""

    def decorate(function: F) -> click.Command:
        made = parent.command(name, epilog=epilog(example))(function)
        made.params += shared_options()
        return made

    return decorate


def epilog(example: str) -> str:
    """Return the end of a help page, an example; the backspace keeps click from joining its lines."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.splitlines())


def shared_options() -> list[click.Option]:
    """Return --json, passed to the function as `as_json`, and --debug, which only `fail` reads."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
        click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks of errors."),
    ]


def version_option(name: str) -> click.Option:
    """Return the --version option; all programs share the project's version."""

    def show(context: click.Context, _: click.Parameter, asked: bool) -> None:
        if asked:
            click.echo(f"{name} {__version__}")
            context.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Show the version.",
    )


def fail(error: Exception, name: str, args: Sequence[str]) -> int:
    """Report an error as one line on stderr, with --json also on stdout, and return the exit code."""
    if "--debug" in args:
        traceback.print_exception(error)
    failed = failure(error, name, args)
    note(name, failed.message)
    if "--json" in args:
        with contextlib.suppress(OSError):  # stdout may be what failed
            write_json(failed.to_json())
    return failed.exit_code


def write_json(document: Mapping[str, object]) -> None:
    """Print one JSON document on stdout, in ASCII. ValueError for NaN and infinity: the caller writes null for them."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file that an option names, whole or not at all. Raises OutputError with the file's name."""
    try:
        write_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OutputError(error.errno, error.strerror, error.filename) from error


def note(name: str, text: str) -> None:
    """Print one line on stderr, prefixed with the program's name."""
    click.echo(f"{name}: {one_line(text)}", err=True)


def is_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that can move its cursor (TERM is not "dumb")."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keep Python's warnings off stderr, unless -W or PYTHONWARNINGS asks for them."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield
