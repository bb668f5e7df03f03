"""What can go wrong with a registry, as exceptions: it cannot be used, or it refuses what it was told.

    RegistryError                 the registry cannot be used (exit 4)
    ├── RegistryUnreachable       no such folder or server, or no permission
    ├── RegistryLocked            another process held it for longer than the timeout
    ├── RegistryNewer             its schema is newer than this program
    ├── RegistryOlder             its schema is older, and is not upgraded on opening
    ├── RegistryReadOnly          it can be read but not written
    └── NotARegistry              a file or database of somebody else, or a damaged one

    RequestError (a ValueError)   what was told or asked is refused (exit 3)
    ├── RefusedRecord             a value that would not come back as it was told
    ├── ConflictingRecord         it contradicts what is recorded under the same identity
    ├── InvalidReference          no form of REF, or a name that names may not have
    ├── UnknownReference          nothing is recorded under it
    ├── RefusedByPolicy           a name demands a signature that nobody has verified (exit 1)
    ├── AmbiguousReference        more than one thing is
    └── ChangedInput              what went into a run is not to be had any more

`reason` is a word that stays, for scripts; `str()` is one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

LONGEST_SHOWN = 80


def quote_text(text: str) -> str:
    """`text` quoted, on one line, without control characters, and bounded."""
    cut = text[:LONGEST_SHOWN] + "…" if len(text) > LONGEST_SHOWN else text
    return f"'{printable(cut)}'"


def printable(text: str) -> str:
    """`text` on one line, with control characters as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class RegistryError(Exception):
    """The registry cannot be used; nothing was written."""

    reason: ClassVar[str] = "unusable"


class RegistryUnreachable(RegistryError):
    """No such folder or server, or no permission."""

    reason = "unreachable"


class RegistryLocked(RegistryError):
    """Another process held it for longer than the timeout."""

    reason = "locked"


class RegistryNewer(RegistryError):
    """Its schema is newer than this program knows."""

    reason = "newer"


class RegistryOlder(RegistryError):
    """Its schema is older than this program's, and it is not one to be upgraded on opening."""

    reason = "older"


class RegistryReadOnly(RegistryError):
    """It can be read but not written."""

    reason = "read-only"


class NotARegistry(RegistryError):
    """A file or database of somebody else, or a damaged one."""

    reason = "not-a-registry"


class RefusedRequest(ValueError):
    """What was told or asked is refused; nothing was written."""

    reason: ClassVar[str] = "refused"


class RefusedRecord(RefusedRequest):
    """A value that would not come back as it was told: NUL, half a surrogate pair, NaN, a naive time."""


class ConflictingRecord(RefusedRequest):
    """It contradicts what is recorded under the same digest or run id: one of the two is wrong."""

    reason = "conflict"


class InvalidReference(RefusedRequest):
    """No form of REF, or a name that names may not have."""

    reason = "invalid"


class UnknownReference(RefusedRequest):
    """Nothing is recorded under it. near: names that are spelled like it."""

    reason = "unknown"

    def __init__(self, reference: str, *, near: Sequence[str] = (), hint: str = "") -> None:
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(
            f"nothing is recorded as {quote_text(reference)}{meant}{f'; {hint}' if hint else ''}"
        )
        self.reference = reference
        self.near = tuple(near)


class AmbiguousReference(RefusedRequest):
    """More than one thing is recorded under it. candidates: references that each mean one of them."""

    reason = "ambiguous"

    def __init__(self, reference: str, candidates: Sequence[str]) -> None:
        super().__init__(f"{quote_text(reference)} may mean any of {', '.join(candidates)}")
        self.reference = reference
        self.candidates = tuple(candidates)


class RefusedByPolicy(RefusedRequest):
    """A name demands a signature, and what it means, or is to mean, has none that was verified."""

    reason = "policy"


class ChangedInput(RefusedRequest):
    """What went into a run is nowhere on this host any more, so it cannot be made again."""

    reason = "changed"
