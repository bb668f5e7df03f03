"""The three standard streams where whoever started us closed one of them, as `>&-` and some daemons do."""

from __future__ import annotations

import os
import sys

# stdin is empty and stderr goes nowhere; a result must not, so that stdout refuses what is written (EBADF).
CLOSED = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def open_closed_streams() -> list[str]:
    """Opens each that is closed, and returns their names.

    In their order, so that no file that is opened later gets a stream's number.
    """
    closed = [row for row in CLOSED if getattr(sys, row[0]) is None]
    for name, flags, mode in closed:
        setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8", closefd=False))
    return [name for name, _, _ in closed]


def drop_output() -> None:
    """Lets what stdout still holds go nowhere: the flush at exit needs somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
