"""`llorch-run chat` in a terminal: a line editor, commands that start with /, and Ctrl-C to cancel an answer."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import click

from llorch.base.errors import InputError
from llorch.commands import cli

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from llorch.runtime import Chat, Stream

BANNER = "Enter sends, Alt-Enter begins another line, Ctrl-C ends an answer, /help says the rest."
HELP = """/system TEXT  what the model is told before all else; alone, show it
/clear        forget what was said, but not /system
/bye          end, as Ctrl-D does
/help         these lines"""


def converse(name: str, conversation: Chat, answer: Callable[[str], Stream]) -> None:
    """Prompt for lines and answer them until /bye or Ctrl-D. A line that causes an error is not remembered.

    answer: runs a request to its end, shows it, and returns its stream, which becomes the assistant's turn.
    """
    from llorch.runtime import RequestError  # NumPy, which --help does not need

    session = line_editor()
    click.echo(BANNER, err=True)
    while True:
        try:
            line = session.prompt("> ").strip()
        except KeyboardInterrupt:
            continue  # drop the line, keep the session
        except EOFError:
            return
        if line.startswith("/"):
            if not command(line, conversation):
                return
        elif line:
            try:
                conversation.add_answer(answer(line))
            except (InputError, RequestError) as error:
                cli.note(name, str(error))


def line_editor() -> PromptSession[str]:
    """Return a prompt on stderr with line editing, the session's history, and Alt-Enter for a new line."""
    import sys

    from prompt_toolkit import PromptSession  # takes 0.2 s, so only for a terminal
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.output import create_output

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(key_bindings=keys, output=create_output(stdout=sys.stderr))


def command(line: str, conversation: Chat) -> bool:
    """Run a line that starts with /; return False if it ends the session."""
    word, _, rest = line.partition(" ")
    system = [message for message in conversation.messages if message["role"] == "system"]
    match word:
        case "/bye" | "/exit" | "/quit":
            return False
        case "/clear":
            conversation.messages = system
        case "/system" if rest.strip():
            others = [message for message in conversation.messages if message["role"] != "system"]
            conversation.messages = [{"role": "system", "content": rest.strip()}, *others]
        case "/system":
            click.echo(system[0]["content"] if system else "nothing: /system TEXT sets it", err=True)
        case "/help":
            click.echo(HELP, err=True)
        case _:
            click.echo(f"{cli.one_line(word)} is no command: /help lists them", err=True)
    return True


@contextlib.contextmanager
def interrupt_cancels(stream: Stream) -> Iterator[None]:
    """Within the `with` block, Ctrl-C cancels the stream and raises nothing."""

    def cancel(_: int, __: FrameType | None) -> None:
        stream.cancel()

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
