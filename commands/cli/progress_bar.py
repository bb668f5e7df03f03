"""How far work is, on one line at the foot of the terminal where a person looks at stderr, and nowhere else.

Work that is over within `SHOWN_AFTER_S` shows nothing; what takes longer shows what is done of what is to do, or, where
nobody counts, that it goes on, and for how long. When it is over nothing is left of it.
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
MOST_COUNTED = 9_999  # of more than so many things it is said which part of them is done
BAR_WIDTH = 24  # characters, so that a name and an amount have room beside it in 80


class Bar:
    """The line; called with (done, total) it says how far the work is, by `step` also which part of it."""

    def __init__(self, what: str, *, in_bytes: bool) -> None:
        self._what, self._done, self._total = what, 0, 0
        self._in_bytes = in_bytes
        self._lock = threading.Lock()  # between whoever works and the timer that begins to draw
        self._line: Any = None  # rich's, once it is drawn
        self._timer = threading.Timer(SHOWN_AFTER_S, self._draw)
        self._timer.daemon = True
        self._timer.start()

    def __call__(self, done: int, total: int) -> None:
        """So much of so much is done; a total of 0 or 1 is one thing that goes on."""
        self.step(self._what, done, total)

    def step(self, what: str, done: int, total: int) -> None:
        """As a call, of a part of the work that has a name: with another name the clock begins again."""
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
        """Takes the line away."""
        self._timer.cancel()
        self._timer.join()
        if self._line is not None:
            self._line.stop()

    def _fields(self) -> dict[str, Any]:
        """What rich's line shows; without a total its bar moves back and forth."""
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
        from rich.console import Console  # 0.1 s, and only for work that takes longer
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
    """Within it a person sees `what` goes on, and how far it is by calls of what is given; None where nobody looks."""
    if not is_terminal(sys.stderr):
        yield None
        return
    bar = Bar(printable(what, 200, quoted=False), in_bytes=in_bytes)
    try:
        yield bar
    finally:
        bar.close()
