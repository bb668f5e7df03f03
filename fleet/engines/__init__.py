"""Engines run tasks in processes: on this machine, or on a Ray or Dask cluster.

An engine calls a function, given as `module:name`, with a small JSON document, and returns its result. No weights go
through an engine.
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
    """A finished task. outcome: what its function returned; None if the process was lost, with the reason in `lost`."""

    key: str
    outcome: Mapping[str, Any] | None
    lost: str = ""


class Engine(Protocol):
    """Runs tasks."""

    @property
    def slots(self) -> int:
        """The number of tasks it can run at once, at this moment."""

    def submit(self, key: str, needs: Needs, payload: Mapping[str, Any]) -> None:
        """Run the function on `payload`, on a machine with room for `needs`."""

    def results(self, timeout_s: float) -> Sequence[TaskResult]:
        """Return the tasks finished since the last call; wait up to `timeout_s` for the first."""

    def cancel(self, key: str) -> None:
        """Stop a task whose result is no longer wanted, as far as the engine can."""

    def close(self) -> None:
        """Stop all tasks, and the processes started for them."""

    def __enter__(self) -> Engine:
        """Return the engine."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of an engine.

    function: `module:name`, called with a payload, returns a JSON document. workers: processes on this machine.
    address: of a cluster; empty to start one here. log: the file for the workers' output; None doesn't redirect it.
    """

    function: str
    workers: int
    address: str = ""
    log: str | None = None


# Name → module, class, and the extra that installs its dependencies.
ENGINES: Mapping[str, tuple[str, str, str]] = {
    "local": ("llorch.fleet.engines.local", "LocalEngine", ""),
    "ray": ("llorch.fleet.engines.on_ray", "RayEngine", "ray"),
    "dask": ("llorch.fleet.engines.on_dask", "DaskEngine", "dask"),
}


def open_engine(name: str, options: EngineOptions) -> Engine:
    """Open an engine by name. Raises UnsupportedInput if its extra is not installed."""
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
    """Import and return the function `module:name`."""
    module, _, name = dotted.partition(":")
    found: Callable[[Mapping[str, Any]], Mapping[str, Any]] = getattr(importlib.import_module(module), name)
    return found
