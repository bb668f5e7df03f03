"""`llorch-run logits`, `perplexity` and `bench`: measurements of a model."""

from __future__ import annotations

from pathlib import Path

import click

from llorch import formats, runtime
from llorch.commands import cli
from llorch.commands.cli import Cell, text, write_rows, write_table
from llorch.commands.run.documents import speed_document, speed_rows
from llorch.commands.run.input import text_of
from llorch.commands.run.options import NAME, device_option, model_argument, open_model

commands = click.Group()  # `llorch.commands.run.command` adds them to its group


@cli.subcommand(commands, "logits", example=f'{NAME} logits smollm2 "The capital of France is" --top 3')
@model_argument
@click.argument("words", metavar="TEXT")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Tokens to show.")
@cli.mode_option("exact")
@device_option
def logits(model: Path, words: str, top: int, mode: str, device: str, as_json: bool) -> None:
    """Show the most probable tokens after TEXT, with their logits."""
    with open_model(model, device, mode) as loaded:
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
    commands,
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
    with open_model(model, device, mode) as loaded, cli.progress("perplexity", in_bytes=False) as progress:
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


@cli.subcommand(commands, "bench", example=f"{NAME} bench SmolLM2-135M-Instruct.Q4_1.gguf --threads 2")
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
