"""What `llorch-run` reads of a person: a prompt, a text to measure, the lines of a conversation."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from llorch.base.errors import UnsupportedInput

STDIN = "-"


def prompt_of(given: str | None, file: Path | None) -> str:
    """The prompt: as given, or all of `file`, or all of stdin for `-` and where a pipe is there instead of a person.

    One line end at the end of a file or of stdin, which `echo` and editors write, is no part of it. A usage error where
    nobody gives one, two do, or where stdin is not UTF-8.
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
    """The text in a file, or in stdin where it is `-`; an error where that is no text in UTF-8."""
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
    """`text` without the one at its end."""
    return text.removesuffix("\n").removesuffix("\r")


def read_line() -> str:
    """The next line of the input; empty where it ends."""
    return next((line for line in sys.stdin if line.strip()), "").strip()
