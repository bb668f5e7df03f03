"""Retries of transient errors, with pauses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from llorch.sources.errors import Unreachable

TRIES, FIRST_PAUSE_S = 3, 1.0

T = TypeVar("T")


def with_retries(ask: Callable[[], T]) -> T:
    """Return the result of `ask`; a transient error is retried twice, after one and two seconds, then raised."""
    for attempt in range(TRIES):
        try:
            return ask()
        except Unreachable as error:
            if not error.transient:
                raise
            if attempt == TRIES - 1:
                error.what += f", {TRIES} times"
                raise
        time.sleep(FIRST_PAUSE_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def first_bytes(chunks: Iterable[bytes], count: int) -> bytes:
    """Return the first `count` bytes of a body; the rest is not read."""
    found = bytearray()
    for chunk in chunks:
        found += chunk
        if len(found) >= count:
            break
    return bytes(found[:count])
