"""Finding the registry a command uses, and a model given as a path or as a name in the registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable
from llorch.commands import cli

if TYPE_CHECKING:
    from llorch.registry import Location

SUFFIX = ".gguf"


class ModelType(cli.PathType):
    """A model: a file or folder, or a name, digest or path in the registry of a model that is on this machine."""

    name = "model"

    def __init__(self, *, for_use: bool) -> None:
        super().__init__()
        self.for_use = for_use

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the model's path; raises what `locate_model` does."""
        return locate_model(super().convert(value, param, ctx), None, for_use=self.for_use)


MODEL = ModelType(for_use=True)
# to be signed, scanned or verified, which a policy may be waiting for
INSPECTED_MODEL = ModelType(for_use=False)


def registry_location(option: str | None) -> Location:
    """Return the registry's location, from the --registry option, the environment, or the current folder."""
    from llorch.registry import locate  # --help does not need it

    return locate(option, os.environ, Path.cwd())


def locate_model(model: Path, registry: str | None, *, for_use: bool) -> Path:
    """Return the model's path: `model` if it exists, else where the registry last saw that name on this machine.

    If the registry does not know it either, and it looks like a path or `owner/repo`, it is returned unchanged, so that
    opening it reports what is missing. for_use: whether a name's policy must be met.

    Raises FileNotFoundError for an unknown name, UnsupportedInput for a known model that is nowhere on this machine,
    and RefusedByPolicy.
    """
    if os.path.lexists(model):
        return model
    import socket  # slow to import; --help does not need it

    from llorch.registry import ArtifactAnswer, RefusedRequest, Registry, RegistryError

    location = registry_location(registry)
    try:
        with Registry(location.url) as store:
            answer = store.show(str(model))
    except (RegistryError, RefusedRequest, OSError) as error:
        if "/" in str(model) or model.suffix.lower() == SUFFIX:
            return model
        what = f"no such file or folder, nor a name in the registry {location.shown}"
        raise FileNotFoundError(2, what, str(model)) from error
    if for_use:
        with Registry(location.url) as store:
            store.require_allowed(str(model))
    if not isinstance(answer, ArtifactAnswer):
        raise UnsupportedInput(f"{printable(str(model))} is a run, not a model", hint="name what it made")
    here = [Path(place.path) for place in answer.places if place.host == socket.gethostname()]
    found = next((path for path in here if path.exists()), None)
    if found is None:
        raise UnsupportedInput(
            f"{printable(str(model))} is known to the registry {location.shown}, but lies nowhere on this machine",
            hint="convert or fetch it again, or name its file or folder",
        )
    return found
