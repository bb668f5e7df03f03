"""How a conversion says how far it is."""

from __future__ import annotations

from collections.abc import Callable

# (bytes done, bytes in all): called now and then from the caller's own thread. What it raises ends the work,
# as an interrupt does.
Progress = Callable[[int, int], None]
