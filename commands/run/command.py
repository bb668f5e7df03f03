"""`llorch-run`: run a model from a GGUF file or a folder, with the runtime that also verifies conversions."""

from __future__ import annotations

from llorch.commands import cli
from llorch.commands.run import contents, generation, measures, remote, soak
from llorch.commands.run.options import NAME
from llorch.commands.serve import command as serve


@cli.group(NAME, example=f'{NAME} generate smollm2 -p "The capital of France is"')
def main() -> None:
    """Run MODEL: a .gguf file, a folder with config.json and safetensors, or a name of the registry."""


for part in (contents, generation, measures, remote, serve, soak):
    main.commands.update(part.commands.commands)
