"""`llorch-run info` and `tokenize`: describe a file or folder and use its tokenizer, without loading weights."""

from __future__ import annotations

from pathlib import Path

import click

from llorch import formats, runtime
from llorch.base.errors import UnsupportedInput
from llorch.commands import cli
from llorch.commands.cli import text, write_rows, write_table
from llorch.commands.run.documents import contents_document, contents_rows, info_document, info_rows
from llorch.commands.run.options import NAME, model_argument

commands = click.Group()  # `llorch.commands.run.command` adds them to its group


@cli.subcommand(commands, "info", example=f"{NAME} info SmolLM2-135M-Instruct.Q4_1.gguf")
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


@cli.subcommand(commands, "tokenize", example=f'{NAME} tokenize smollm2 "Hello, world!"')
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
