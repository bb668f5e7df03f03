"""A progress bar on the last line of the terminal; only if stderr is a terminal.

Work that ends within `SHOWN_AFTER_S` shows nothing. Longer work shows the amount done and the total, or, if it isn't
counted, that it goes on and for how long. The line is removed at the end.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from llorch.base.printable import printable
from llorch.commands.cli.declaration import is_terminal
from llorch.commands.cli.tables import size

SHOWN_AFTER_S = 1.0
MOST_COUNTED = 9_999  # a larger total of things is shown as a percentage
BAR_WIDTH = 24  # characters: leaves room for a name and an amount in 80 columns


class Bar:
    """The progress line. Call it with (done, total); `step` also names the part of the work."""

    def __init__(self, what: str, *, in_bytes: bool) -> None:
        self._what, self._done, self._total = what, 0, 0
        self._in_bytes = in_bytes
        self._lock = threading.Lock()  # between the callers and the timer's thread, which starts to draw
        self._line: Any = None  # rich's Progress, once it is drawn
        self._timer = threading.Timer(SHOWN_AFTER_S, self._draw)
        self._timer.daemon = True
        self._timer.start()

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total`; a total of 0 or 1 is shown as work that isn't counted."""
        self.step(self._what, done, total)

    def step(self, what: str, done: int, total: int) -> None:
        """Show `done` of `total` of the part of the work named `what`; a new name restarts the clock."""
        with self._lock:
            is_new, self._what = what != self._what, what
            self._done, self._total = done, total
            if self._line is None:
                return
            (task,) = self._line.task_ids
            if is_new:
                self._line.add_task(**self._fields())
                self._line.remove_task(task)
            else:
                self._line.update(task, **self._fields())

    def close(self) -> None:
        """Remove the line."""
        self._timer.cancel()
        self._timer.join()
        if self._line is not None:
            self._line.stop()

    def _fields(self) -> dict[str, Any]:
        """Return the fields of rich's line; without a total its bar moves back and forth."""
        counted = self._total > 1
        parts = (size(n).brief if self._in_bytes else f"{n:,}" for n in (self._done, self._total))
        amount = " of ".join(parts)
        if not self._in_bytes and self._total > MOST_COUNTED:
            amount = f"{self._done / self._total:.0%}"
        return {
            "description": self._what,
            "completed": self._done if counted else 0,
            "total": self._total if counted else None,
            "amount": amount if counted else "",
        }

    def _draw(self) -> None:
        from rich.console import Console  # takes 0.1 s, so only for work that takes longer
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(BAR_WIDTH),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
        )
        line = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        with self._lock:
            line.add_task(**self._fields())
            line.start()
            self._line = line


@contextlib.contextmanager
def progress(what: str, *, in_bytes: bool = True) -> Iterator[Bar | None]:
    """Show a progress bar named `what` within the `with` block; yields None if stderr is no terminal."""
    if not is_terminal(sys.stderr):
        yield None
        return
    bar = Bar(printable(what, 200, quoted=False), in_bytes=in_bytes)
    try:
        yield bar
    finally:
        bar.close()
