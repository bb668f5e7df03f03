"""Signals and broken pipes: what is under way is cleaned up, then the process ends as the shell expects."""

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
IMPATIENT_S = 1.0  # a second signal this long after the first does not wait for the cleaning


class Signalled(BaseException):
    """A signal arrived; raised where the main thread was, so that whatever it holds is let go."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def signals_raised() -> Iterator[None]:
    """Within it the first signal raises `Signalled`, and a later one ends the process at once.

    Two in quick succession are one: timeout(1) sends its signal to the process and then to the group. Signals
    that whoever started us ignores, as nohup does, stay ignored; outside the main thread nothing is changed.
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
    """Ends the process by the signal itself: a shell sees 128 + number, and stops its script at SIGINT."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    sys.exit(128 + number)  # where the signal is blocked


def end_by_broken_pipe() -> NoReturn:
    """Ends quietly, as SIGPIPE would have: who read our output has seen enough."""
    drop_output()
    sys.exit(141)
