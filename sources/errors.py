"""What can go wrong between a source and the disk, as exceptions that name the source.

    SourceError             it could not be had, or not so
    ├── ChoiceNeeded        there is more than one thing that could be meant, or nothing of what was asked for
    ├── Missing             there is no such repository, revision or file
    ├── UnsafeName          a file's name would lead out of its folder, or mislead who reads it
    ├── Denied              it is there, but not for this user
    ├── Unreachable         no answer, none in time, or one that is none
    ├── Damaged             what came is not what was promised
    └── DestinationError    the place that is written is taken, or in use

What a file says of itself is told in `llorch.base.errors`; what the system refuses is an OSError.
"""

from __future__ import annotations

from llorch.base.printable import printable


class SourceError(Exception):
    """Something about `source` that keeps it from being fetched; `str()` is one line without secrets.

    source: as the user named it, or the URL without its query. what: what was found. hint: what to do about it.
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
    """What was asked for means several things, or nothing that is there: the user has to say more."""


class Missing(SourceError):
    """No such repository, revision or file."""


class UnsafeName(SourceError):
    """A listing names a file as no honest one is named."""


class Denied(SourceError):
    """It exists, and this user may not have it."""


class Unreachable(SourceError):
    """The server did not answer, not in time, or not with what was asked for.

    transient: whether it may do better if it is asked again at once.
    """

    def __init__(self, source: str, what: str, *, hint: str = "", transient: bool = False) -> None:
        super().__init__(source, what, hint=hint)
        self.transient = transient


class NoRanges(Unreachable):
    """The server sends a file whole or not at all."""


class Damaged(SourceError):
    """What came is not what was promised; where it was set aside is in `what`."""


class DestinationError(SourceError):
    """The destination holds something else, or another process is writing it. reason: "exists" or "busy"."""

    def __init__(self, source: str, what: str, *, reason: str, hint: str = "") -> None:
        super().__init__(source, what, hint=hint)
        self.reason = reason
