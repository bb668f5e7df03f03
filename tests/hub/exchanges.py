"""The servers' requests and answers, recorded while they run and read from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.hub.answer import Asked


@dataclass(frozen=True)
class Exchange:
    """One request and its answer.

    server: "hub", "cdn" or "site". path: decoded. query: as it was sent. headers: of the request, names in lower case.
    status: 0 until the answer begins. sent: bytes of the body that were given to the socket; where the client left,
    some of them it has not read. is_over: nothing more will be sent.
    """

    server: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0
    is_over: bool = False


class Exchanges:
    """All exchanges, in the order of the requests."""

    def __init__(self) -> None:
        self._rows: dict[int, Exchange] = {}
        self._next = 0
        self._changed = threading.Condition()

    def rows(self) -> list[Exchange]:
        """Return the exchanges in their current state."""
        with self._changed:
            return list(self._rows.values())

    def clear(self) -> None:
        """Forget all exchanges, including the rest of those still running."""
        with self._changed:
            self._rows.clear()

    def wait_until_over(self, timeout_s: float) -> bool:
        """Wait until none is running; return False after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: all(row.is_over for row in self._rows.values()), timeout_s)

    def begin(self, asked: Asked) -> int:
        """Add an exchange; return its number for the other methods."""
        with self._changed:
            number, self._next = self._next, self._next + 1
            query = asked.target.partition("?")[2]
            self._rows[number] = Exchange(asked.server, asked.method, asked.path, query, asked.headers)
            return number

    def answered(self, number: int, status: int) -> None:
        """Record the start of the answer."""
        self._change(number, lambda row: replace(row, status=status))

    def sent(self, number: int, size: int) -> None:
        """Record `size` more bytes of the body."""
        self._change(number, lambda row: replace(row, sent=row.sent + size))

    def over(self, number: int) -> None:
        """Record the end of the answer."""
        self._change(number, lambda row: replace(row, is_over=True))

    def _change(self, number: int, change: Callable[[Exchange], Exchange]) -> None:
        with self._changed:
            if number in self._rows:
                self._rows[number] = change(self._rows[number])
                self._changed.notify_all()
