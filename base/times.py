"""Times as text: RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(when: datetime) -> str:
    """Return the time in UTC with microseconds, in fixed width, so that text order is time order."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def rfc3339_seconds(when: datetime) -> str:
    """Return the time in UTC in whole seconds.

    >>> rfc3339_seconds(datetime(2026, 11, 24, 4, 9, 49, tzinfo=UTC))
    '2026-11-24T04:09:49Z'
    """
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_milliseconds() -> datetime:
    """Return the current time in UTC, truncated to milliseconds as `rfc3339_milliseconds` writes it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def rfc3339_milliseconds(when: datetime) -> str:
    """Return the time in UTC with milliseconds.

    >>> rfc3339_milliseconds(datetime(2026, 11, 24, 4, 9, 49, 120000, tzinfo=UTC))
    '2026-11-24T04:09:49.120Z'
    """
    utc = when.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z"
