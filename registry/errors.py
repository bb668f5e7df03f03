"""Errors of the registry: it cannot be used, or it refuses a record or a query.

    RegistryError                 the registry cannot be used (exit 4)
    ├── RegistryUnreachable       no such folder or server, or no permission
    ├── RegistryLocked            another process held the lock for longer than the timeout
    ├── RegistryNewer             its schema is newer than this program
    ├── RegistryOlder             its schema is older, and is not upgraded on opening
    ├── RegistryReadOnly          it can be read but not written
    └── NotARegistry              another program's file or database, or a damaged one

    RefusedRequest (a ValueError) a record or a query is refused (exit 3)
    ├── RefusedRecord             a value that could not be stored unchanged
    ├── ConflictingRecord         it contradicts what is recorded under the same identity
    ├── InvalidReference          not a valid REF, or not a valid name
    ├── UnknownReference          nothing is recorded under it
    ├── RefusedByPolicy           a name requires a signature that was not verified (exit 1)
    ├── AmbiguousReference        more than one thing is recorded under it
    └── ChangedInput              the input of a run no longer exists unchanged

`reason` is a stable word for scripts; `str()` is one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

LONGEST_SHOWN = 80


def quote_text(text: str) -> str:
    """Return `text` quoted, on one line, control characters escaped, cut after `LONGEST_SHOWN` characters."""
    cut = text[:LONGEST_SHOWN] + "…" if len(text) > LONGEST_SHOWN else text
    return f"'{printable(cut)}'"


def printable(text: str) -> str:
    """Return `text` on one line, control characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class RegistryError(Exception):
    """The registry cannot be used; nothing was written."""

    reason: ClassVar[str] = "unusable"


class RegistryUnreachable(RegistryError):
    """No such folder or server, or no permission."""

    reason = "unreachable"


class RegistryLocked(RegistryError):
    """Another process held the lock for longer than the timeout."""

    reason = "locked"


class RegistryNewer(RegistryError):
    """Its schema is newer than this program knows."""

    reason = "newer"


class RegistryOlder(RegistryError):
    """Its schema is older than this program's, and a server is not upgraded on opening."""

    reason = "older"


class RegistryReadOnly(RegistryError):
    """It can be read but not written."""

    reason = "read-only"


class NotARegistry(RegistryError):
    """Another program's file or database, or a damaged one."""

    reason = "not-a-registry"


class RefusedRequest(ValueError):
    """A record or a query is refused; nothing was written."""

    reason: ClassVar[str] = "refused"


class RefusedRecord(RefusedRequest):
    """A value that could not be stored unchanged: NUL, half a surrogate pair, NaN, a naive time."""


class ConflictingRecord(RefusedRequest):
    """It contradicts what is recorded under the same digest or run id: one of the two is wrong."""

    reason = "conflict"


class InvalidReference(RefusedRequest):
    """Not a valid REF, or not a valid name."""

    reason = "invalid"


class UnknownReference(RefusedRequest):
    """Nothing is recorded under it. near: names with a similar spelling."""

    reason = "unknown"

    def __init__(self, reference: str, *, near: Sequence[str] = (), hint: str = "") -> None:
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(
            f"nothing is recorded as {quote_text(reference)}{meant}{f'; {hint}' if hint else ''}"
        )
        self.reference = reference
        self.near = tuple(near)


class AmbiguousReference(RefusedRequest):
    """More than one thing is recorded under it. candidates: unambiguous references, one for each."""

    reason = "ambiguous"

    def __init__(self, reference: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{quote_text(reference)} may mean any of {', '.join(candidates)}")
        self.reference = reference
        self.candidates = tuple(candidates)


class RefusedByPolicy(RefusedRequest):
    """A name requires a signature, and its artifact, or the one it is being set to, has no verified one."""

    reason = "policy"


class ChangedInput(RefusedRequest):
    """The input of a run is no longer on this host unchanged, so the run cannot be repeated."""

    reason = "changed"
