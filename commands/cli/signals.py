"""Signals and broken pipes: clean up, then end the process as the shell expects."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from llorch.commands.cli.streams import drop_output

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
IMPATIENT_S = 1.0  # a second signal later than this after the first ends the process at once


class Signalled(BaseException):
    """A signal arrived; raised in the main thread, so that `finally` and `with` blocks clean up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def signals_raised() -> Iterator[None]:
    """Within the `with` block the first signal raises `Signalled`, and a later one ends the process at once.

    Two within `IMPATIENT_S` count as one: timeout(1) sends its signal to the process and then to the group. Signals
    that the parent process ignores, as nohup does, stay ignored. Outside the main thread nothing is changed.
    """
    first: list[float] = []

    def handle(number: int, _: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise Signalled(number)
        if time.monotonic() - first[0] > IMPATIENT_S:
            end_by(number)

    before = {}
    with contextlib.suppress(ValueError):  # not the main thread
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_by(number: int) -> NoReturn:
    """End the process by the signal itself: a shell sees 128 + number, and stops its script at SIGINT."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    sys.exit(128 + number)  # if the signal is blocked


def end_by_broken_pipe() -> NoReturn:
    """End quietly with status 141, as SIGPIPE would have: the reader of our output has closed the pipe."""
    drop_output()
    sys.exit(141)
