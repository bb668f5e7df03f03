"""What every command shares: how it is declared, how it ends, and where it says what.

Results go to stdout, as text or with --json as one document; everything else goes to stderr. A command's
function returns its exit code and raises what it cannot handle: `failures` says what that is to the caller.
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
    """A click command whose every way to end is one of `failures.EXIT_CODES`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002  # click's signature
        **_: Any,
    ) -> NoReturn:
        """Runs the command and ends the process."""
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
        except Exception as error:  # noqa: BLE001  # the one place where every error ends
            if "stdout" in closed and isinstance(error, OSError) and error.errno == errno.EBADF:
                error = OutputError(errno.EBADF, "is closed", "stdout")
                drop_output()
            code = fail(error, name, args)
        sys.exit(code)

    def run(self, args: list[str], name: str) -> int:
        """The exit code; not by click's own `main`, which makes a failure of a broken pipe."""
        try:
            with self.make_context(name, args.copy()) as context:  # click eats its list
                return self.invoke(context) or 0
        except click.exceptions.Exit as end:  # --help and --version
            return end.exit_code
        except click.exceptions.NoArgsIsHelpError as alone:
            click.echo(alone.ctx.get_help())
            return 2


class GuardedGroup(GuardedCommand, click.Group):
    """A group of commands, guarded as one."""


def command(
    name: str, example: str, cls: type[GuardedCommand] = GuardedCommand
) -> Callable[[F], GuardedCommand]:
    """Declares a function as a command of its own; its docstring is the help."""

    def decorate(function: F) -> GuardedCommand:
        made = click.command(
            name, cls=cls, context_settings=SETTINGS, epilog=epilog(example), no_args_is_help=True
        )(function)
        made.params += [*shared_options(), version_option(name)]
        return made

    return decorate


def group(name: str, example: str, cls: type[GuardedGroup] = GuardedGroup) -> Callable[[F], GuardedGroup]:
    """Declares a function as a group of commands; alone, it prints its help."""

    def decorate(function: F) -> GuardedGroup:
        made = click.group(
            name, cls=cls, context_settings=SETTINGS, epilog=epilog(example), no_args_is_help=True
        )(function)
        made.params.append(version_option(name))
        return made

    return decorate


def subcommand(parent: click.Group, name: str, example: str) -> Callable[[F], click.Command]:
    """Declares a function as a command of a group."""

    def decorate(function: F) -> click.Command:
        made = parent.command(name, epilog=epilog(example))(function)
        made.params += shared_options()
        return made

    return decorate


def epilog(example: str) -> str:
    """The end of a help page; the mark keeps click from joining its lines."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.splitlines())


def shared_options() -> list[click.Option]:
    """--json, which the function is told as `as_json`, and --debug, which only `fail` heeds."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
        click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks of errors."),
    ]


def version_option(name: str) -> click.Option:
    """--version, which is one for the whole project."""

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
    """Says on one line of stderr, and with --json on stdout too, what went wrong; returns the exit code."""
    if "--debug" in args:
        traceback.print_exception(error)
    failed = failure(error, name, args)
    note(name, failed.message)
    if "--json" in args:
        with contextlib.suppress(OSError):  # stdout may be what failed
            write_json(failed.to_json())
    return failed.exit_code


def write_json(document: Mapping[str, object]) -> None:
    """One document on stdout, in ASCII. NaN and infinity are no JSON, so whoever has them says null."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def write_file(path: Path, content: str | bytes) -> None:
    """A file that an option asks for, whole or not at all; OutputError, which names it, where it cannot be."""
    try:
        write_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OutputError(error.errno, error.strerror, error.filename) from error


def note(name: str, text: str) -> None:
    """One line on stderr."""
    click.echo(f"{name}: {one_line(text)}", err=True)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at this stream, through something that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keeps Python's own warnings off stderr, unless -W or PYTHONWARNINGS asks for them."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield
