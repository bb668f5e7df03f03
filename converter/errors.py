"""What can be wrong with the place a conversion is written to, as exceptions.

    OSError
    ├── TargetExists     something is there already, and was not to be replaced
    ├── TargetBusy       another process is writing it
    └── NotEnoughSpace   the disk cannot hold what is to be written
    RuntimeError
    └── NotTakenBack     an operation and its inverse do not fit: a bug of ours, nothing was published
    UnsupportedInput
    └── OnlyVocabulary   the source has no weights, so there is no model to convert

What else is wrong with the input is told in `llorch.base.errors`.
"""

from __future__ import annotations

import errno
import os

from llorch.base.errors import UnsupportedInput

EXISTS = "the target exists already: --force replaces it"


class TargetExists(FileExistsError):
    """The target is there, and was not to be replaced or must not be."""

    def __init__(self, folder: str | os.PathLike[str], what: str = EXISTS) -> None:
        super().__init__(errno.EEXIST, what, os.fspath(folder))


class TargetBusy(OSError):
    """Another process holds the target's lock; the message says which, if the lock file does."""

    def __init__(self, folder: str | os.PathLike[str], holder: str) -> None:
        super().__init__(errno.EBUSY, f"is being written by another process{holder}", os.fspath(folder))


class NotEnoughSpace(OSError):
    """The file system has less room than the conversion takes; both figures are attributes too."""

    def __init__(self, folder: str | os.PathLike[str], needed_bytes: int, available_bytes: int) -> None:
        what = f"the conversion needs {needed_bytes:,} bytes, the file system has {available_bytes:,} left"
        super().__init__(errno.ENOSPC, what, os.fspath(folder))
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


class RoundTripError(RuntimeError):
    """What was to be written does not lead back to the source; never the input's fault."""


class OnlyVocabulary(UnsupportedInput):
    """The source has a vocabulary and no tensor; `convert_tokenizer` writes what it holds."""
