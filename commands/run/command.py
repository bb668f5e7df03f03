"""`llorch-run`: a model at work, from a GGUF file or a folder, by the runtime that judges conversions."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llorch import formats, runtime
from llorch.base.errors import UnsupportedInput
from llorch.commands import cli
from llorch.commands.cli import Cell, text, write_rows, write_table
from llorch.commands.ledger import MODEL
from llorch.commands.run.conversation import converse, interrupt_cancels
from llorch.commands.run.documents import (
    contents_document,
    contents_rows,
    generation_document,
    info_document,
    info_rows,
    speed_document,
    speed_rows,
)
from llorch.commands.run.input import prompt_of, said, text_of
from llorch.commands.run.remote import add_remote
from llorch.commands.run.soak import add_soak
from llorch.commands.serve.command import add_serve

if TYPE_CHECKING:
    from llorch.runtime import Model, Sampling, Stream

NAME = "llorch-run"
# How a request came to its end, for a person.
ENDS = {
    "end": "ended by the model",
    "stop": "ended at a --stop text",
    "length": "ended by {cut}",
    "cancelled": "cancelled",
}
F = TypeVar("F", bound=Callable[..., Any])

model_argument = click.argument("model", type=MODEL, shell_complete=cli.complete_model)
device_option = cli.device_option(
    "Where it is computed. auto: cuda if it is there and the model fits, else cpu. With commas: its layers are shared "
    "out over these.",
    several=True,
)


def length_option(default: int | None, help: str) -> Callable[[F], F]:
    """-n, which the function gets as `max_new_tokens`; None is as many as the context has room for."""
    return click.option(
        "-n",
        "--max-new-tokens",
        type=click.IntRange(min=1),
        default=default,
        show_default=default is not None,
        help=help,
    )


def sampling_options(function: F) -> F:
    """How each token is chosen, and where it ends; in this order on the page."""
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


@cli.group(NAME, example=f'{NAME} generate smollm2 -p "The capital of France is"')
def main() -> None:
    """Run MODEL: a .gguf file, a folder with config.json and safetensors, or a name of the registry."""


@cli.subcommand(main, "generate", example=f'{NAME} generate smollm2 -p "Why is the sea salty?" --chat')
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
    with opened(model, device, mode) as loaded:
        ask = runtime.Chat(loaded).ask if chat else loaded.stream
        stream = ask(prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
        write_stream(stream, silent=as_json)
    if as_json:
        cli.write_json(generation_document(model, prompt, sampling, stream.generation))


@cli.subcommand(main, "chat", example=f"{NAME} chat smollm2")
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
    with opened(model, device, mode) as loaded:
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
        while not typed and (line := said()):
            conversation.answered(answer(line))
    if as_json:
        messages = list(conversation.messages)
        cli.write_json(
            {"schema": "llorch.chat/v1", "model": str(model), "mode": loaded.mode, "messages": messages}
        )


@cli.subcommand(main, "tokenize", example=f'{NAME} tokenize smollm2 "Hello, world!"')
@model_argument
@click.argument("words", metavar="TEXT")
def tokenize(model: Path, words: str, as_json: bool) -> None:
    """Show the tokens of TEXT: their ids and their pieces.

    No weight is read: a .gguf file that is only a vocabulary will do.
    """
    with cli.progress(f"reading the tokenizer of {model.name}"):
        encoded = runtime.read_text(formats.model_path(model, folders=True)).tokenizer.encode(words)
    rows = list(zip(encoded.ids, encoded.tokens, strict=True))
    if as_json:
        tokens = [{"id": token, "piece": piece} for token, piece in rows]
        cli.write_json({"schema": "llorch.tokens/v1", "model": str(model), "text": words, "tokens": tokens})
    else:
        write_table(("id", "piece"), [[text(token), text(piece)] for token, piece in rows])


@cli.subcommand(main, "logits", example=f'{NAME} logits smollm2 "The capital of France is" --top 3')
@model_argument
@click.argument("words", metavar="TEXT")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Tokens to show.")
@cli.mode_option("exact")
@device_option
def logits(model: Path, words: str, top: int, mode: str, device: str, as_json: bool) -> None:
    """Show the most probable tokens after TEXT, with their logits."""
    with opened(model, device, mode) as loaded:
        ids = loaded.tokenizer.encode(words).ids
        if not ids:
            raise click.UsageError(f"TEXT {words!r} has no token, so there is nothing to go on from")
        with cli.progress(f"computing {len(ids):,} positions"):
            last = loaded.logits(ids)[-1]
        best = last.topk(min(top, len(last)))
        rows = [
            (token, loaded.tokenizer.decode([token], skip_special_tokens=False), value)
            for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    if as_json:
        found = [{"id": token, "piece": piece, "logit": value} for token, piece, value in rows]
        document = {"model": str(model), "mode": loaded.mode, "text": words, "top": found}
        cli.write_json({"schema": "llorch.logits/v1", **document})
    else:
        cells = [
            [text(token), text(piece), Cell(repr(value), f"{value:.3f}")] for token, piece, value in rows
        ]
        write_table(("id", "piece", "logit"), cells)
        cli.note(NAME, f"computed in mode {loaded.mode}")


@cli.subcommand(
    main,
    "perplexity",
    example=f"{NAME} perplexity smollm2 book.txt\nzcat wiki.gz | {NAME} perplexity smollm2",
)
@model_argument
@click.argument("file", metavar="[FILE]", type=cli.PATH, default=Path("-"))
@click.option("--n-ctx", type=int, default=512, show_default=True, help="Tokens in a window.")
@cli.mode_option("exact")
@device_option
def perplexity(model: Path, file: Path, n_ctx: int, mode: str, device: str, as_json: bool) -> None:
    """Measure the perplexity of a text, as llama-perplexity does.

    The text is FILE's, else stdin's.
    """
    content = text_of(file)
    with opened(model, device, mode) as loaded, cli.progress("perplexity", in_bytes=False) as progress:
        found = runtime.measure_perplexity(loaded, content, n_ctx=n_ctx, progress=progress)
    document = {
        "perplexity": found.value,
        "error": found.error,
        "windows": found.windows,
        "predictions": found.predictions,
        "mode": found.mode,
    }
    if as_json:
        cli.write_json({"schema": "llorch.perplexity/v1", "model": str(model), **document})
    else:
        write_rows([[text(key), text(value)] for key, value in document.items()])


@cli.subcommand(main, "info", example=f"{NAME} info SmolLM2-135M-Instruct.Q4_1.gguf")
@model_argument
def info(model: Path, as_json: bool) -> None:
    """Say what a file or folder is, without loading its weights.

    What cannot be run (an adapter, an architecture that is not known) is described by its types, sizes and keys.
    """
    try:
        found = runtime.describe(formats.model_path(model, folders=True))
    except UnsupportedInput as error:
        contents = runtime.describe_contents(model)
        if contents is None:
            raise
        if as_json:
            cli.write_json(contents_document(contents, str(error)))
        else:
            write_rows(contents_rows(contents))
            cli.note(NAME, f"cannot be run: {error}")
        return
    if as_json:
        cli.write_json(info_document(found))
    else:
        write_rows(info_rows(found))


add_serve(main, example=f"{NAME} serve SmolLM2-135M-Instruct.Q4_1.gguf --port 8080")


add_soak(main, example=f"{NAME} soak smollm2 --minutes 5")


add_remote(main, example=f"{NAME} remote gpu-box cuda debug-inference --model smollm2")


@cli.subcommand(main, "bench", example=f"{NAME} bench SmolLM2-135M-Instruct.Q4_1.gguf --threads 2")
@model_argument
@click.option(
    "--prompt-tokens",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Length of the prompt, which is read at once.",
)
@click.option(
    "--generate-tokens",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Tokens to generate, one by one.",
)
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Tokens in the context already when measuring begins.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads to work with.  [default: all cores]")
@cli.mode_option("fast")
@device_option
def bench(
    model: Path,
    prompt_tokens: int,
    generate_tokens: int,
    depth: int,
    threads: int | None,
    mode: str,
    device: str,
    as_json: bool,
) -> None:
    """Measure how fast a model reads and writes.

    In tokens per second, and as a part of what the memory's speed allows.
    """
    from llorch.runtime import choose_device  # torch, which --help does not need

    found = runtime.measure_speed(
        formats.model_path(model, folders=True),
        prompt_tokens=prompt_tokens,
        generate_tokens=generate_tokens,
        depth=depth,
        threads=threads,
        mode=mode,
        device=choose_device(device),
        progress=None if as_json else lambda what: cli.note(NAME, f"measures {what} …"),
    )
    if as_json:
        cli.write_json(speed_document(model, found))
    else:
        write_rows(speed_rows(found))


def opened(model: Path, device: str, mode: str) -> Model:
    """The model, ready to run."""
    with cli.progress(f"loading {model.name}"):
        loaded = runtime.load(formats.model_path(model, folders=True), device=device, mode=mode)
    if loaded.placed:
        cli.note(NAME, loaded.placed)
    return loaded


def sampling_of(**options: float) -> Sampling:
    """The options as a Sampling; a usage error for a filter that would change nothing."""
    filters = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    idle = [name for name, neutral in filters.items() if options[name] != neutral]
    if idle and options["temperature"] == 0:
        option = f"--{idle[0].replace('_', '-')}"
        raise click.UsageError(f"{option} changes nothing at temperature 0: give a --temperature too")
    whole = {name: int(value) for name, value in options.items() if name in ("top_k", "seed")}
    return runtime.Sampling(**{**options, **whole})  # type: ignore[arg-type]  # click has seen to the types


def write_stream(stream: Stream, *, silent: bool, cut: str = "--max-new-tokens") -> None:
    """Runs a request; its text goes to stdout as it comes, how it was made to stderr, unless `silent`.

    cut: what ended it, where its length did.
    """
    began = time.monotonic()
    try:
        with cli.progress("reading the prompt"):
            first = next(stream, "")
        for piece in itertools.chain([first], stream):
            if not silent:
                click.echo(seen(piece), nl=False)
    finally:
        if not silent:
            click.echo()  # also where it was interrupted: what is said of that has a line of its own
    if not silent:
        made = stream.generation
        end = ENDS[made.finish].format(cut=cut)
        rate = ""
        if cli.is_terminal(sys.stderr):
            rate = f", {len(made.ids) / max(time.monotonic() - began, 1e-9):.1f} tokens a second"
        cli.note(NAME, f"{counted(made.ids, 'token')} in mode {made.mode}, {end}{rate}")


def counted(ids: Sequence[int], what: str) -> str:
    """`1 token`, `2 tokens`."""
    return f"{len(ids)} {what}{'' if len(ids) == 1 else 's'}"


def seen(piece: str) -> str:
    """A piece of a model's text: where a person looks, nothing in it acts on the terminal."""
    if not cli.is_terminal(sys.stdout):
        return piece
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in piece
    )
