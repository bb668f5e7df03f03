"""Shared by the commands of `llorch-run`: their name, MODEL, --device, and loading the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch import formats, runtime
from llorch.commands import cli
from llorch.commands.ledger import MODEL

if TYPE_CHECKING:
    from llorch.runtime import Model

NAME = "llorch-run"

model_argument = click.argument("model", type=MODEL, shell_complete=cli.complete_model)
device_option = cli.device_option(
    "Where it is computed. auto: cuda if it is there and the model fits, else cpu. With commas: its layers are shared "
    "out over these.",
    several=True,
)


def open_model(model: Path, device: str, mode: str) -> Model:
    """Load a model; print where its layers were placed, if there is something to say."""
    with cli.progress(f"loading {model.name}"):
        loaded = runtime.load(formats.model_path(model, folders=True), device=device, mode=mode)
    if loaded.placed:
        cli.note(NAME, loaded.placed)
    return loaded
