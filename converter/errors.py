"""Exceptions of a conversion other than a bad input.

    OSError
    ├── TargetExists     the target exists, and was not to be replaced
    ├── TargetBusy       another process is writing it
    └── NotEnoughSpace   the disk cannot hold the result
    RuntimeError
    └── RoundTripError   an operation and its inverse disagree: a bug of ours; nothing was published
    UnsupportedInput
    └── OnlyVocabulary   the source has no weights, so there is no model to convert

Errors of the input are in `llorch.base.errors`.
"""

from __future__ import annotations

import errno
import os

from llorch.base.errors import UnsupportedInput

EXISTS = "the target exists already: --force replaces it"


class TargetExists(FileExistsError):
    """The target exists, and must not be replaced, or not without `force`."""

    def __init__(self, folder: str | os.PathLike[str], what: str = EXISTS) -> None:
        super().__init__(errno.EEXIST, what, os.fspath(folder))


class TargetBusy(OSError):
    """Another process holds the target's lock; the message names it if the lock file does."""

    def __init__(self, folder: str | os.PathLike[str], holder: str) -> None:
        super().__init__(errno.EBUSY, f"is being written by another process{holder}", os.fspath(folder))


class NotEnoughSpace(OSError):
    """The file system has less space than the conversion needs; both numbers are attributes."""

    def __init__(self, folder: str | os.PathLike[str], needed_bytes: int, available_bytes: int) -> None:
        what = f"the conversion needs {needed_bytes:,} bytes, the file system has {available_bytes:,} left"
        super().__init__(errno.ENOSPC, what, os.fspath(folder))
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


class RoundTripError(RuntimeError):
    """What was to be written does not convert back to the source; never the input's fault."""


class OnlyVocabulary(UnsupportedInput):
    """The source has a vocabulary and no tensors; `convert_tokenizer` writes its tokenizer."""
