"""Shell completion: click completes commands and options, the registry is queried for names."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")


def completion_script(shell: str, programs: dict[str, click.Command]) -> str:
    """Return the script that `shell` evaluates to enable completion for these programs.

    programs: name as typed → its command.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells of SHELLS"
    return "\n".join(
        kind(command, {}, name, completion_variable(name)).source() for name, command in programs.items()
    )


def completion_variable(program: str) -> str:
    """Return the environment variable by which click asks a program for completions: `_LLORCH_CONVERT_COMPLETE`."""
    return f"_{program.replace('-', '_').upper()}_COMPLETE"


def complete_reference(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the registry's names that start with `incomplete`; none if the registry cannot be opened."""
    import os  # imported here, like the registry: needed only for a completion
    from pathlib import Path

    from llorch.registry import RefusedRequest, Registry, RegistryError, locate

    try:
        location = locate(context.params.get("url"), os.environ, Path.cwd())
        if not location.is_there:
            return []
        with Registry(location.url) as registry:
            names = {name for row in registry.list(limit=None) for name in row.names}
    except (RegistryError, RefusedRequest, OSError):
        return []
    plain = {name.removesuffix("@latest") for name in names} | names
    return [
        CompletionItem(name, help=parameter.human_readable_name)
        for name in sorted(plain)
        if name.startswith(incomplete)
    ]


def complete_model(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names as `complete_reference` does, and let the shell add files and folders."""
    return [CompletionItem(incomplete, type="file"), *complete_reference(context, parameter, incomplete)]
