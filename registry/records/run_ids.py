"""Ids of runs and events: version 7 UUIDs, which need no coordinator and sort by time."""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime, timedelta

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def uuid7(milliseconds: int | None = None, random_bits: int | None = None) -> str:
    """Return a version 7 UUID as text.

    milliseconds: since 1970, now by default. random_bits: its 74 random bits, random by default.
    Source: RFC 9562, section 5.7. Python 3.14's uuid.uuid7 does the same.
    """
    milliseconds = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    random_bits = secrets.randbits(74) if random_bits is None else random_bits
    high, low = random_bits >> 62, random_bits & ((1 << 62) - 1)
    digits = f"{(milliseconds & 0xFFFFFFFFFFFF) << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def uuid7_at(when: datetime) -> str:
    """Return a new UUID with the time `when`, for a run whose start is known."""
    return uuid7(int(when.timestamp() * 1000))


def time_of(uid: str) -> datetime:
    """Return the time of a version 7 UUID, to the millisecond, in UTC."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(uid.replace("-", "")[:12], 16))
