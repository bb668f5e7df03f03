"""Engines place processes: this machine's, or those of a cluster that somebody else's program runs.

What they are asked is small: run this function, named by its module, on this small document, and say what it gave.
No weights go through an engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from llorch.base.errors import UnsupportedInput
from llorch.fleet.plan import Needs


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task that an engine has done with. outcome: what its function gave; None where it gave none, and lost why."""

    key: str
    outcome: Mapping[str, Any] | None
    lost: str = ""


class Engine(Protocol):
    """Somewhere to run tasks."""

    @property
    def slots(self) -> int:
        """How many tasks it takes at once, as of now."""

    def submit(self, key: str, needs: Needs, payload: Mapping[str, Any]) -> None:
        """Has the function run on `payload`, where there is room for `needs`."""

    def results(self, timeout_s: float) -> Sequence[TaskResult]:
        """What has finished since it was asked last; waits up to `timeout_s` for the first."""

    def cancel(self, key: str) -> None:
        """Ends a task that nobody waits for any more, as well as it can be ended."""

    def close(self) -> None:
        """Ends all tasks, and what was started for them."""

    def __enter__(self) -> Engine:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is opened with.

    function: `module:name`, called with a payload; what it gives is a document of JSON. workers: processes of this
    machine. address: of a cluster; empty for one that is made here. log: where workers' output goes; None leaves it.
    """

    function: str
    workers: int
    address: str = ""
    log: str | None = None


# Name → the module and class, and the extra that brings what it needs.
ENGINES: Mapping[str, tuple[str, str, str]] = {
    "local": ("llorch.fleet.engines.local", "LocalEngine", ""),
    "ray": ("llorch.fleet.engines.on_ray", "RayEngine", "ray"),
    "dask": ("llorch.fleet.engines.on_dask", "DaskEngine", "dask"),
}


def open_engine(name: str, options: EngineOptions) -> Engine:
    """The engine of that name. Raises UnsupportedInput where its extra is not installed."""
    module, cls, extra = ENGINES[name]
    try:
        made: Engine = getattr(importlib.import_module(module), cls)(options)
    except ModuleNotFoundError as error:
        if not extra:
            raise
        hint = f"pip install 'llorch[{extra}]'"
        raise UnsupportedInput(
            f"the engine {name} needs {error.name}, which is not installed", hint=hint
        ) from None
    return made


def function_named(dotted: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The function of `module:name`."""
    module, _, name = dotted.partition(":")
    found: Callable[[Mapping[str, Any]], Mapping[str, Any]] = getattr(importlib.import_module(module), name)
    return found
