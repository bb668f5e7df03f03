"""`llorch`: one command with every other one as a subcommand."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from llorch.commands import cli

NAME = "llorch"

# Subcommand → its module, and its line in `llorch --help`. The module is imported only when the subcommand is run.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "batch": ("llorch.commands.batch", "Convert thousands of models over many machines."),
    "convert": ("llorch.commands.convert", "Make a safetensors folder of a GGUF file, and check it."),
    "fetch": ("llorch.commands.fetch", "Fetch a model, check its digests, record where it came from."),
    "registry": ("llorch.commands.registry", "Look up which folder came from which file."),
    "run": ("llorch.commands.run", "Run a model: generate, chat, logits, perplexity, info."),
    "scan": ("llorch.commands.scan", "Look for what is dangerous in a model besides its weights."),
    "sign": ("llorch.commands.sign", "Sign a folder and its provenance."),
    "verify": ("llorch.commands.verify", "Check a converted folder against its GGUF file."),
    "verify-signature": (
        "llorch.commands.verify_signature",
        "Check who signed a folder, and that it is unchanged.",
    ),
}


class Commands(cli.GuardedGroup):
    """The group of the commands in `COMMANDS`, each imported on first use, and of those declared on it directly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all subcommands, sorted."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command `cmd_name`; None if there is none."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        found: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).main
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """Write the list of commands in --help from the table, so that no command is imported for it."""
        own = {name: command.get_short_help_str(80) for name, command in self.commands.items()}
        lines = {**own, **{name: line for name, (_, line) in COMMANDS.items()}}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(lines.items()))


@cli.group(NAME, example=f"{NAME} convert SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2", cls=Commands)
def main() -> None:
    """GGUF model files to Hugging Face safetensors folders: exact, recorded, and proven right.

    Each command is also a program of its own: llorch-convert is `llorch convert`.
    """


@main.command("completion", epilog=cli.epilog(f"{NAME} completion fish | source"))
@click.argument("shell", type=click.Choice(cli.SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and options.

    Names of the registry, too.
    """
    programs: dict[str, click.Command] = {NAME: main}
    for name, (module, _) in COMMANDS.items():
        programs[f"{NAME}-{name}"] = importlib.import_module(module).main
    click.echo(cli.completion_script(shell, programs))
