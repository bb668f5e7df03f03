"""Standard streams that the parent process closed, as `>&-` and some daemons do."""

from __future__ import annotations

import os
import sys

# stdin reads as empty and stderr is discarded. A result must not be lost, so stdout is opened read-only: writing to it
# fails with EBADF.
CLOSED = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def open_closed_streams() -> list[str]:
    """Open the closed standard streams on the null device, and return their names.

    They are opened in the order of their numbers, so that no file that is opened later gets one of them.
    """
    closed = [row for row in CLOSED if getattr(sys, row[0]) is None]
    for name, flags, mode in closed:
        setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8", closefd=False))
    return [name for name, _, _ in closed]


def drop_output() -> None:
    """Point stdout at the null device, so that flushing its buffer at exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
