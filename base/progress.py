"""How work says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# (done, in all), of bytes or of whatever is counted: called now and then from the caller's own thread. What it raises
# ends the work, as an interrupt does.
Progress = Callable[[int, int], None]

# Of a room that waits where its caller cannot see it: what for, in words. Within the context it waits, and may say how
# far it is.
Waiting = Callable[[str], AbstractContextManager[Progress | None]]


def not_shown(what: str) -> AbstractContextManager[None]:  # noqa: ARG001  # a Waiting
    """Waits, and nobody sees it."""
    return nullcontext()
