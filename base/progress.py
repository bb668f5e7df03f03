"""Types of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# (done, total) of bytes or whatever is counted, called now and then from the caller's own thread. An exception it
# raises ends the work, as an interrupt does.
Progress = Callable[[int, int], None]

# Called with the reason for a wait that the caller cannot see. The context lasts as long as the wait; its value, if
# not None, is called with the wait's progress.
Waiting = Callable[[str], AbstractContextManager[Progress | None]]


def not_shown(what: str) -> AbstractContextManager[None]:  # noqa: ARG001
    """A `Waiting` that shows nothing."""
    return nullcontext()
