"""The text input of `llorch-run`: a prompt, a text to measure, the lines of a conversation."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from llorch.base.errors import UnsupportedInput

STDIN = "-"


def prompt_of(given: str | None, file: Path | None) -> str:
    """Return the prompt: as given, or all of `file`, or all of stdin for `-` or if stdin is no terminal.

    One line end at the end of a file or of stdin, which `echo` and editors write, is removed. A usage error if there
    is no prompt, if there are two, or if stdin is not UTF-8.
    """
    if given is not None and file is not None:
        raise click.UsageError("--prompt and --file both say what the prompt is: give one.")
    if file is not None:
        return without_line_end(text_of(file))
    if given not in (None, STDIN):
        return str(given)
    if given is None and sys.stdin.isatty():
        raise click.UsageError("Missing option '-p' / '--prompt', '--file', or a pipe.")
    content = text_of(Path(STDIN))
    if given is None and not content:
        raise click.UsageError("Missing option '-p' / '--prompt': stdin is empty too.")
    return without_line_end(content)


def text_of(file: Path) -> str:
    """Read a file, or stdin if it is `-`, as UTF-8. UnsupportedInput or UsageError if it isn't, or has a NUL."""
    from_stdin = file == Path(STDIN)
    content = sys.stdin.buffer.read() if from_stdin else file.read_bytes()
    try:
        text = content.decode()
        nul = text.find("\0")
    except UnicodeDecodeError as error:
        nul = error.start
    if nul < 0:
        return text
    what = f"is not text in UTF-8: byte {nul} is none of it"
    if from_stdin:
        raise click.UsageError(f"stdin {what}")
    raise UnsupportedInput(what, path=file, hint="give a text file")


def without_line_end(text: str) -> str:
    """Return `text` without the last line end, if it ends with one."""
    return text.removesuffix("\n").removesuffix("\r")


def read_line() -> str:
    """Return the next non-blank line of stdin, stripped; "" at its end."""
    return next((line for line in sys.stdin if line.strip()), "").strip()
