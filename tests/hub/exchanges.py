"""What was asked of the servers and what they sent, kept while it goes on; read from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.hub.answer import Asked


@dataclass(frozen=True)
class Exchange:
    """One request and what came back.

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
    """All of them, in the order in which the requests came."""

    def __init__(self) -> None:
        self._rows: dict[int, Exchange] = {}
        self._next = 0
        self._changed = threading.Condition()

    def rows(self) -> list[Exchange]:
        """As they stand now."""
        with self._changed:
            return list(self._rows.values())

    def clear(self) -> None:
        """Forgets them, and what comes of those that still go on."""
        with self._changed:
            self._rows.clear()

    def wait_until_over(self, timeout_s: float) -> bool:
        """Waits until none goes on; whether that is so now."""
        with self._changed:
            return self._changed.wait_for(lambda: all(row.is_over for row in self._rows.values()), timeout_s)

    def begin(self, asked: Asked) -> int:
        """A new one; the number by which the others know it."""
        with self._changed:
            number, self._next = self._next, self._next + 1
            query = asked.target.partition("?")[2]
            self._rows[number] = Exchange(asked.server, asked.method, asked.path, query, asked.headers)
            return number

    def answered(self, number: int, status: int) -> None:
        """The answer begins."""
        self._change(number, lambda row: replace(row, status=status))

    def sent(self, number: int, size: int) -> None:
        """So many bytes more."""
        self._change(number, lambda row: replace(row, sent=row.sent + size))

    def over(self, number: int) -> None:
        """Nothing more is sent."""
        self._change(number, lambda row: replace(row, is_over=True))

    def _change(self, number: int, change: Callable[[Exchange], Exchange]) -> None:
        with self._changed:
            if number in self._rows:
                self._rows[number] = change(self._rows[number])
                self._changed.notify_all()
