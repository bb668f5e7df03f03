"""How times are spelled: RFC 3339 in UTC, of one width."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(when: datetime) -> str:
    """The time in UTC with six digits of a second: fixed width, so that text order is time order."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def rfc3339_seconds(when: datetime) -> str:
    """The time in UTC, whole seconds.

    >>> rfc3339_seconds(datetime(2026, 11, 24, 4, 9, 49, tzinfo=UTC))
    '2026-11-24T04:09:49Z'
    """
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_milliseconds() -> datetime:
    """The time in UTC, to the millisecond: as exact as `rfc3339_milliseconds` writes it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def rfc3339_milliseconds(when: datetime) -> str:
    """The time in UTC with three digits of a second.

    >>> rfc3339_milliseconds(datetime(2026, 11, 24, 4, 9, 49, 120000, tzinfo=UTC))
    '2026-11-24T04:09:49.120Z'
    """
    utc = when.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z"
