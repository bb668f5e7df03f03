"""Errors of downloading, as exceptions that name the source.

    SourceError             the source cannot be fetched
    ├── ChoiceNeeded        the request matches several models, or none
    ├── Missing             there is no such repository, revision or file
    ├── UnsafeName          a file's name would lead out of its folder, or mislead a reader
    ├── Denied              it exists, but this user has no access
    ├── Unreachable         no answer, none in time, or an invalid one
    ├── Damaged             the bytes received are not those promised
    └── DestinationError    the destination holds something else, or is in use

Errors in a file's content are in `llorch.base.errors`; errors of the operating system are OSError.
"""

from __future__ import annotations

from llorch.base.printable import printable


class SourceError(Exception):
    """`source` cannot be fetched; `str()` is one line without secrets.

    source: as the user named it, or the URL without its query. what: the problem. hint: what to do about it.
    """

    def __init__(self, source: str, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.source = source
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{printable(self.source, 200, quoted=False)}: {self.what}{hint}"


class ChoiceNeeded(SourceError):
    """The request matches several models, or none: the user has to choose."""


class Missing(SourceError):
    """No such repository, revision or file."""


class UnsafeName(SourceError):
    """A listing has a file name that is not safe to use."""


class Denied(SourceError):
    """It exists, but this user has no access."""


class Unreachable(SourceError):
    """The server did not answer, not in time, or with something else.

    transient: whether an immediate retry may succeed.
    """

    def __init__(self, source: str, what: str, *, hint: str = "", transient: bool = False) -> None:
        super().__init__(source, what, hint=hint)
        self.transient = transient


class NoRanges(Unreachable):
    """The server does not support range requests."""


class Damaged(SourceError):
    """The bytes received are not those promised; `what` says where they were set aside."""


class DestinationError(SourceError):
    """The destination holds something else, or another process is writing it. reason: "exists" or "busy"."""

    def __init__(self, source: str, what: str, *, reason: str, hint: str = "") -> None:
        super().__init__(source, what, hint=hint)
        self.reason = reason
