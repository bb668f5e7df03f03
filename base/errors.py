"""Exceptions for bad inputs, which carry the file, the key or tensor, and the byte offset.

    InputError              the input is missing something, malformed or unsupported
    ├── MalformedInput      its bytes contradict the format, or one another
    └── UnsupportedInput    well formed, but with an architecture, type, version or name we don't support

A file that cannot be opened or read is an OSError, never one of these.
"""

from __future__ import annotations

import os

from llorch.base.printable import printable


class InputError(ValueError):
    """An input that cannot be used as it is. `str()` is always one printable line.

    what: what was found, and what was expected.
    where: the key or tensor concerned, as `key 'general.alignment'` or `tensor 'output.weight'`.
    path: the file or folder; if the raiser does not know it, the caller that opened it adds it with `in_file`.
    offset: the byte offset in the file.
    hint: what the user can do about it, if known.
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
        """Set `path`, unless the error already has one, and return the error itself."""
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
    """The input's bytes contradict the format, or one another."""


class UnsupportedInput(InputError):
    """A well-formed input with an architecture, type, version or name that we don't support."""
