"""The files of a folder and its source that are opened, and by which thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from llorch.verification.check import CannotCheck
from llorch.verification.once import once


class Opened:
    """Two things that take a while; the second cannot be opened."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun = Event()

    @once
    def reading(self) -> object:
        self.calls.append("reading")
        self.begun.wait(5)
        return object()

    @once
    def refused(self) -> object:
        self.calls.append("refused")
        raise CannotCheck("not known")


def test_threads_that_ask_at_the_same_time_get_one_reading() -> None:
    opened, together = Opened(), Barrier(5)

    def ask(_: int) -> object:
        together.wait()
        return opened.reading

    with ThreadPoolExecutor(4) as pool:
        found = pool.map(ask, range(4))
        together.wait()
        opened.begun.set()
        assert len({id(reading) for reading in found}) == 1
    assert opened.calls == ["reading"]


def test_a_refusal_is_kept() -> None:
    opened = Opened()
    for _ in range(2):
        with pytest.raises(CannotCheck, match="not known"):
            _ = opened.refused
    assert opened.calls == ["refused"]
