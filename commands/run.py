"""`llorch-run`: a model at work, from a GGUF file or a folder, by the runtime that judges conversions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llorch import runtime
from llorch.commands import cli
from llorch.commands.cli import Cell, size, text, write_rows, write_table
from llorch.commands.serve.command import add_serve

if TYPE_CHECKING:
    from llorch.formats.tokenizer.templates import TemplateReport
    from llorch.runtime import Description, Generation, Model, Sampling, Stream

NAME = "llorch-run"
# How a request came to its end, for a person.
ENDS = {
    "end": "ended by the model",
    "stop": "ended at a --stop text",
    "length": "ended by --max-new-tokens",
    "cancelled": "cancelled",
}
F = TypeVar("F", bound=Callable[..., Any])

model_argument = click.argument("model", type=click.Path(path_type=Path))
device_option = cli.device_option("Where it is computed. auto: cuda if it is there, else cpu.")


def sampling_options(function: F) -> F:
    """How much is generated, how each token is chosen, and where it ends; in this order on the page."""
    for option in (
        click.option(
            "--stop", metavar="TEXT", multiple=True, help="End before this text; may be given several times."
        ),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="The same seed gives the same text."
        ),
        click.option(
            "--repetition-penalty",
            type=float,
            default=1.0,
            show_default=True,
            help="Above 1, tokens that were there already are less probable.",
        ),
        click.option(
            "--min-p",
            type=float,
            default=0.0,
            show_default=True,
            help="Only tokens at least so probable as this share of the most probable.",
        ),
        click.option(
            "--top-p",
            type=float,
            default=1.0,
            show_default=True,
            help="Only the most probable tokens that together reach this.",
        ),
        click.option(
            "--top-k", type=int, default=0, show_default=True, help="Only so many tokens; 0 is all."
        ),
        click.option(
            "--temperature",
            type=float,
            default=0.0,
            show_default=True,
            help="0 takes the most probable token.",
        ),
        click.option(
            "-n",
            "--max-new-tokens",
            type=click.IntRange(min=1),
            default=64,
            show_default=True,
            help="At most.",
        ),
    ):
        function = option(function)
    return function


@cli.group(NAME, example=f'{NAME} generate smollm2 -p "The capital of France is"')
def main() -> None:
    """Run MODEL, a .gguf file or a folder with config.json and safetensors."""


@cli.subcommand(main, "generate", example=f'{NAME} generate smollm2 -p "Why is the sea salty?" --chat')
@model_argument
@click.option("-p", "--prompt", required=True, help="The text to go on from; with --chat what the user says.")
@click.option("--chat", is_flag=True, help="Put the prompt into the model's chat template.")
@sampling_options
@device_option
def generate(
    model: Path,
    prompt: str,
    chat: bool,
    max_new_tokens: int,
    stop: tuple[str, ...],
    device: str,
    as_json: bool,
    **options: float,
) -> None:
    """Continue a text, the most probable way or by chance."""
    sampling = sampling_of(**options)
    with opened(model, device) as loaded:
        ask = runtime.Chat(loaded).ask if chat else loaded.stream
        stream = ask(prompt, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
        write_stream(stream, silent=as_json)
    if as_json:
        cli.write_json(generation_document(model, prompt, sampling, stream.generation))


@cli.subcommand(main, "chat", example=f"{NAME} chat smollm2")
@model_argument
@sampling_options
@device_option
def chat(
    model: Path, max_new_tokens: int, stop: tuple[str, ...], device: str, as_json: bool, **options: float
) -> None:
    """Talk with a model, a line at a time, until the input ends."""
    sampling = sampling_of(**options)
    with opened(model, device) as loaded:
        conversation = runtime.Chat(loaded)
        while line := said():
            stream = conversation.ask(line, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
            write_stream(stream, silent=as_json)
            conversation.answered(stream)
    if as_json:
        messages = list(conversation.messages)
        cli.write_json(
            {"schema": "llorch.chat/v1", "model": str(model), "mode": loaded.mode, "messages": messages}
        )


@cli.subcommand(main, "tokenize", example=f'{NAME} tokenize smollm2 "Hello, world!"')
@model_argument
@click.argument("words", metavar="TEXT")
def tokenize(model: Path, words: str, as_json: bool) -> None:
    """Show the tokens of TEXT: their ids, and the pieces that they stand for.

    No weight is read: a .gguf file that is only a vocabulary will do.
    """
    encoded = runtime.read_text(model).tokenizer.encode(words)
    rows = list(zip(encoded.ids, encoded.tokens, strict=True))
    if as_json:
        tokens = [{"id": token, "piece": piece} for token, piece in rows]
        cli.write_json({"schema": "llorch.tokens/v1", "model": str(model), "text": words, "tokens": tokens})
    else:
        write_table(("id", "piece"), [[text(token), text(piece)] for token, piece in rows])


@cli.subcommand(main, "logits", example=f'{NAME} logits smollm2 "The capital of France is" --top 3')
@model_argument
@click.argument("words", metavar="TEXT")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="So many tokens.")
@device_option
def logits(model: Path, words: str, top: int, device: str, as_json: bool) -> None:
    """Show the most probable tokens after TEXT, with their logits."""
    with opened(model, device) as loaded:
        last = loaded.logits(loaded.tokenizer.encode(words).ids)[-1]
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


@cli.subcommand(main, "perplexity", example=f"{NAME} perplexity smollm2 book.txt")
@model_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--n-ctx", type=int, default=512, show_default=True, help="Tokens of a window.")
@device_option
def perplexity(model: Path, file: Path, n_ctx: int, device: str, as_json: bool) -> None:
    """Measure the perplexity of the text in FILE, by llama-perplexity's windows."""
    content = file.read_text(encoding="utf-8", errors="replace")
    with opened(model, device) as loaded, cli.progress("windows", in_bytes=False) as progress:
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
    """Say what a file or folder is, on one screen, without loading its weights."""
    found = runtime.describe(model)
    if as_json:
        cli.write_json(info_document(found))
    else:
        write_rows(info_rows(found))


add_serve(main, example=f"{NAME} serve SmolLM2-135M-Instruct.Q4_1.gguf --port 8080")


def opened(model: Path, device: str) -> Model:
    """The model, ready to run."""
    from llorch.runtime import choose_device  # torch, which --help does not need

    return runtime.load(model, device=choose_device(device))


def sampling_of(**options: float) -> Sampling:
    """The options as a Sampling; a usage error for a filter that would change nothing."""
    filters = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    idle = [name for name, neutral in filters.items() if options[name] != neutral]
    if idle and options["temperature"] == 0:
        option = f"--{idle[0].replace('_', '-')}"
        raise click.UsageError(f"{option} changes nothing at temperature 0: give a --temperature too")
    whole = {name: int(value) for name, value in options.items() if name in ("top_k", "seed")}
    return runtime.Sampling(**{**options, **whole})  # type: ignore[arg-type]  # click has seen to the types


def write_stream(stream: Stream, *, silent: bool) -> None:
    """Runs a request; its text goes to stdout as it comes, how it was made to stderr, unless `silent`."""
    try:
        for piece in stream:
            if not silent:
                click.echo(seen(piece), nl=False)
    finally:
        if not silent:
            click.echo()  # also where it was interrupted: what is said of that has a line of its own
    if not silent:
        made = stream.generation
        cli.note(NAME, f"{counted(made.ids, 'token')} in mode {made.mode}, {ENDS[made.finish]}")


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


def said() -> str:
    """The next line of the input, asked for where a person types; empty where it ends."""
    if cli.is_terminal(sys.stdin):
        click.echo("> ", nl=False, err=True)
    return next((line for line in sys.stdin if line.strip()), "").strip()


def generation_document(model: Path, prompt: str, sampling: Sampling, made: Generation) -> dict[str, object]:
    """What --json says of a generation; enough to make it again."""
    return {
        "schema": "llorch.generation/v1",
        "model": str(model),
        "mode": made.mode,
        **asdict(sampling),
        "prompt": prompt,
        "prompt_ids": list(made.prompt_ids),
        "ids": list(made.ids),
        "text": made.text,
        "finish": made.finish,
    }


def info_document(found: Description) -> dict[str, object]:
    """A description as --json has it; sizes are bytes."""
    traits, memory = found.traits, found.memory
    return {
        "schema": "llorch.info/v1",
        "model": str(found.path),
        "format": found.format,
        "architecture": found.architecture,
        "name": found.name,
        "weights": found.weights,
        "size_bytes": found.size_bytes,
        "bits_per_weight": found.bits_per_weight,
        "types": {
            stored.type: {
                "tensors": stored.tensors,
                "weights": stored.weights,
                "size_bytes": stored.size_bytes,
            }
            for stored in found.types
        },
        "layers": traits.n_layers,
        "hidden_size": traits.hidden_size,
        "heads": traits.heads,
        "kv_heads": traits.kv_heads,
        "head_dim": traits.head_dim,
        "context": traits.n_ctx,
        "tokenizer": found.tokenizer,
        "tokens": found.tokens,
        "vocabulary_size": traits.vocabulary_size,
        "chat_template": found.template is not None,
        "chat_template_report": None if found.template is None else asdict(found.template),
        "memory": {
            "weights": memory.weights,
            "cache": memory.cache,
            "tokenizer": memory.tokenizer,
            "scratch": memory.scratch,
        },
    }


def told_of(template: TemplateReport | None) -> str:
    """What a person should know of a chat template before it is used."""
    if template is None:
        return "none for chat"
    broken = sorted({one.rule for one in template.findings})
    more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
    warning = f", FOUND {broken[0]}{more}: llorch scan says where" if broken else ""
    return f"for chat, {template.characters:,} characters{warning}"


def info_rows(found: Description) -> list[list[Cell]]:
    """A description on one screen."""
    traits, memory = found.traits, found.memory
    types = ", ".join(f"{stored.tensors} {stored.type}" for stored in found.types)
    heads = f"{traits.heads} heads, {traits.kv_heads} of keys and values, of {traits.head_dim}"
    parts = ", ".join(
        f"{what} {size(amount).brief}"
        for what, amount in (
            ("weights", memory.weights),
            ("cache", memory.cache),
            ("tokenizer", memory.tokenizer),
            ("scratch", memory.scratch),
        )
    )
    return [
        [text("model"), text(found.name or found.path)],
        [text("format"), text(f"{found.architecture}, {found.format}")],
        [
            text("weights"),
            text(
                f"{found.weights:,} in {size(found.size_bytes).brief}, {found.bits_per_weight:.2f} bits each"
            ),
        ],
        [text("types"), text(types)],
        [text("shape"), text(f"{traits.n_layers} layers of {traits.hidden_size}, {heads}")],
        [text("context"), text(f"{traits.n_ctx:,} positions")],
        [text("tokenizer"), text(f"{found.tokenizer or 'none'}, {found.tokens:,} tokens")],
        [text("template"), text(told_of(found.template))],
        [text("memory"), text(f"{size(memory.total).brief} for all of the context")],
        [text("of which"), text(parts)],
    ]


if __name__ == "__main__":
    main()
