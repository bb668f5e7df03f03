"""`llorch-run generate` and `chat`: streaming a model's text, and the sampling options."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llorch import runtime
from llorch.commands import cli
from llorch.commands.run.conversation import converse, interrupt_cancels
from llorch.commands.run.documents import generation_document
from llorch.commands.run.input import prompt_of, read_line
from llorch.commands.run.options import NAME, device_option, model_argument, open_model

if TYPE_CHECKING:
    from llorch.runtime import Sampling, Stream

commands = click.Group()  # `llorch.commands.run.command` adds them to its group

# Finish reason of a request → the words for a person.
ENDS = {
    "end": "ended by the model",
    "stop": "ended at a --stop text",
    "length": "ended by {cut}",
    "cancelled": "cancelled",
}

F = TypeVar("F", bound=Callable[..., Any])


def length_option(default: int | None, help: str) -> Callable[[F], F]:
    """Add -n, passed to the function as `max_new_tokens`; None is as many as the context has room for."""
    return click.option(
        "-n",
        "--max-new-tokens",
        type=click.IntRange(min=1),
        default=default,
        show_default=default is not None,
        help=help,
    )


def sampling_options(function: F) -> F:
    """Add the sampling options and --stop; --help lists them in reverse of this order."""
    for option in (
        click.option("--stop", metavar="TEXT", multiple=True, help="End before this text; may be repeated."),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="The same seed gives the same text."
        ),
        click.option(
            "--repetition-penalty",
            type=float,
            default=1.0,
            show_default=True,
            help="Above 1, tokens that occurred already are less probable.",
        ),
        click.option(
            "--min-p",
            type=float,
            default=0.0,
            show_default=True,
            help="Leave out tokens less probable than this share of the most probable one.",
        ),
        click.option(
            "--top-p",
            type=float,
            default=1.0,
            show_default=True,
            help="Choose among the most probable tokens whose probabilities add up to this.",
        ),
        click.option(
            "--top-k",
            type=int,
            default=0,
            show_default=True,
            help="Choose among so many most probable tokens; 0 is all.",
        ),
        click.option(
            "--temperature",
            type=float,
            default=0.0,
            show_default=True,
            help="Higher is more random; 0 takes the most probable token.",
        ),
    ):
        function = option(function)
    return function


@cli.subcommand(commands, "generate", example=f'{NAME} generate smollm2 -p "Why is the sea salty?" --chat')
@model_argument
@click.option(
    "-p",
    "--prompt",
    help="The text to go on from; with --chat what the user says. - reads it from stdin, as where stdin is a pipe.",
)
@click.option("--file", type=cli.PATH, metavar="FILE", help="Read the text from this file instead.")
@click.option("--chat", is_flag=True, help="Put the prompt into the model's chat template.")
@length_option(64, "Tokens to generate, at most.")
@sampling_options
@cli.mode_option("fast")
@device_option
def generate(
    model: Path,
    prompt: str | None,
    file: Path | None,
    chat: bool,
    max_new_tokens: int,
    stop: tuple[str, ...],
    mode: str,
    device: str,
    as_json: bool,
    **options: float,
) -> None:
    """Continue a text, the most probable way or by chance."""
    sampling = sampling_of(**options)
    prompt = prompt_of(prompt, file)
    with open_model(model, device, mode) as loaded:
        ask = runtime.Chat(loaded).ask if chat else loaded.stream
        stream = ask(prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
        write_stream(stream, silent=as_json)
    if as_json:
        cli.write_json(generation_document(model, prompt, sampling, stream.generation))


@cli.subcommand(commands, "chat", example=f"{NAME} chat smollm2")
@model_argument
@length_option(None, "Tokens of an answer, at most.  [default: what the context has room for]")
@sampling_options
@cli.mode_option("fast")
@device_option
def chat(
    model: Path,
    max_new_tokens: int | None,
    stop: tuple[str, ...],
    mode: str,
    device: str,
    as_json: bool,
    **options: float,
) -> None:
    """Talk with a model, a line at a time, until the input ends.

    In a terminal the line can be edited, and /help lists what else can be typed.
    """
    sampling = sampling_of(**options)
    with open_model(model, device, mode) as loaded:
        conversation = runtime.Chat(loaded)

        def answer(line: str) -> Stream:
            stream = conversation.ask(line, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
            with interrupt_cancels(stream) if typed else contextlib.nullcontext():
                write_stream(
                    stream, silent=as_json, cut="--max-new-tokens" if max_new_tokens else "the context"
                )
            return stream

        if typed := cli.is_terminal(sys.stdin) and cli.is_terminal(sys.stderr):
            converse(NAME, conversation, answer)
        while not typed and (line := read_line()):
            conversation.add_answer(answer(line))
    if as_json:
        messages = list(conversation.messages)
        cli.write_json(
            {"schema": "llorch.chat/v1", "model": str(model), "mode": loaded.mode, "messages": messages}
        )


def sampling_of(**options: float) -> Sampling:
    """Return the options as a Sampling; a usage error for a filter at temperature 0, where it would change nothing."""
    filters = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    idle = [name for name, neutral in filters.items() if options[name] != neutral]
    if idle and options["temperature"] == 0:
        option = f"--{idle[0].replace('_', '-')}"
        raise click.UsageError(f"{option} changes nothing at temperature 0: give a --temperature too")
    whole = {name: int(value) for name, value in options.items() if name in ("top_k", "seed")}
    return runtime.Sampling(**{**options, **whole})  # type: ignore[arg-type]  # click has checked the types


def write_stream(stream: Stream, *, silent: bool, cut: str = "--max-new-tokens") -> None:
    """Run a request and print its text on stdout as it is generated, and a summary on stderr, unless `silent`.

    cut: what limits the length, named if the request ended by its length.
    """
    began = time.monotonic()
    try:
        with cli.progress("reading the prompt"):
            first = next(stream, "")
        for piece in itertools.chain([first], stream):
            if not silent:
                click.echo(escape(piece), nl=False)
    finally:
        if not silent:
            click.echo()  # also after an interrupt, so that its message is on a line of its own
    if not silent:
        made = stream.generation
        end = ENDS[made.finish].format(cut=cut)
        rate = ""
        if cli.is_terminal(sys.stderr):
            rate = f", {len(made.ids) / max(time.monotonic() - began, 1e-9):.1f} tokens a second"
        cli.note(NAME, f"{count_text(made.ids, 'token')} in mode {made.mode}, {end}{rate}")


def count_text(ids: Sequence[int], what: str) -> str:
    """Return the count with its noun: `1 token`, `2 tokens`."""
    return f"{len(ids)} {what}{'' if len(ids) == 1 else 's'}"


def escape(piece: str) -> str:
    """Return a piece of a model's text; on a terminal its control characters, except line end and tab, are escaped."""
    if not cli.is_terminal(sys.stdout):
        return piece
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in piece
    )
