"""Merging each node's registry into the team's as tasks end; a team registry that is down fails no task."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llorch.registry import RefusedRequest, Registry, RegistryError

if TYPE_CHECKING:
    from llorch.registry import Location

PAUSE_S = 15.0  # between two merges; each reads a node's whole registry
LAST_TRIES = 3


class TeamRegistry:
    """The team's registry with a thread that merges into it; `close` merges the rest."""

    def __init__(self, location: Location, pause_s: float = PAUSE_S) -> None:
        self._location = location
        self._pause_s = pause_s
        self._changed: dict[str, None] = {}
        self._guard = threading.Lock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._merge_until_closed, name="merging", daemon=True)
        self._thread.start()

    def add(self, receipt: Mapping[str, Any]) -> None:
        """Mark the registry of an ended task's node for merging."""
        if registry := receipt.get("registry"):
            with self._guard:
                self._changed[registry] = None

    def close(self) -> Mapping[str, str]:
        """Merge the rest and end the thread; returns node's registry → why it could not be merged."""
        self._ends.set()
        self._thread.join()
        for _ in range(LAST_TRIES):
            trouble = self._merge_changed()
            if not trouble:
                break
        return trouble

    def _merge_until_closed(self) -> None:
        while not self._ends.wait(self._pause_s):
            self._merge_changed()

    def _merge_changed(self) -> dict[str, str]:
        """Merge each changed registry; one that cannot be merged stays marked, and is returned with the error."""
        with self._guard:
            changed, self._changed = list(self._changed), {}
        trouble = {}
        for url in changed:
            try:
                with Registry(self._location.url) as team, Registry(url) as node:
                    team.merge(node)
            except (RegistryError, RefusedRequest, OSError) as error:
                trouble[url] = str(error)
        with self._guard:
            self._changed.update(dict.fromkeys(trouble))
        return trouble
