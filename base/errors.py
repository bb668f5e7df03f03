"""What can be wrong with an input, as exceptions that carry where.

    InputError              the input is missing something, malformed or unsupported
    ├── MalformedInput      its bytes contradict the format, or one another
    └── UnsupportedInput    well formed, but nothing here knows what it asks for

A file that cannot be opened or read is an OSError, never one of these.
"""

from __future__ import annotations

import os

from llorch.base.printable import printable


class InputError(ValueError):
    """An input that cannot be used as it is; `str()` is one line, whatever the file held.

    what: what was found, and what was expected.
    where: the key or tensor it is about, as `key 'general.alignment'` or `tensor 'output.weight'`.
    path: the file or folder; whoever opened it fills it in by `in_file` when the raiser did not know.
    offset: the byte of the file at which it shows.
    hint: what to do about it, where that is known.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.path = path
        self.offset = offset
        self.hint = hint

    def in_file(self, path: str | os.PathLike[str]) -> InputError:
        """The same error, with the file it is about unless one is already named."""
        if self.path is None:
            self.path = path
        return self

    def __str__(self) -> str:
        file = f"{printable(self.path, 200, quoted=False)}: " if self.path is not None else ""
        where = f"{self.where}: " if self.where else ""
        at = f" (at byte {self.offset})" if self.offset is not None else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{file}{where}{self.what}{at}{hint}"


class MalformedInput(InputError):
    """The bytes contradict the format, or one another."""


class UnsupportedInput(InputError):
    """Well formed, but an architecture, type, version or name that nothing here knows."""
