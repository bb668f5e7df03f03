"""Commands in a pseudo-terminal, and the screen's content afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pyte

from tests.commands.conftest import ROOT

LINES = 120
STILL_CLOCK = Path(__file__).parent / "still_clock"
UNSET = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
# What differs from one run to the next, with as many characters of its own kind. Digests of folders do too: they
# hold versions and times.
VOLATILE = (
    (
        re.compile(r"\b(sha256|tree1|weights1):[0-9a-f]+"),
        lambda m: m[1] + ":" + "d" * (len(m[0]) - len(m[1]) - 1),
    ),
    (re.compile(r"\brun:[0-9a-f]{12}"), lambda m: "run:" + "r" * 12),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), lambda m: "r" * 36),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?Z?)?"), lambda m: re.sub(r"\d", "0", m[0])),
    # What a machine's arithmetic decides, and where it is worst.
    (re.compile(r"^((?:lockstep|logits\.|traits\.numbers)\S* +\S+) .*", re.MULTILINE), lambda m: m[1] + " …"),
    (re.compile(r"\b\d+ traits"), lambda _: "00 traits"),  # a family may bring one more
    (re.compile(r"\brecord +[\d.]+"), lambda m: re.sub(r"\d", "0", m[0])),  # versions, paths, the machine
    (re.compile(r"\bin \d+\.\d s"), lambda m: "in 0.0 s"),
    (re.compile(r"\bllorch \d+\.\d+[\w.]*"), lambda m: "llorch 0.0"),
)


def set_size(terminal: int, columns: int) -> None:
    """Set the number of columns of a pseudo-terminal."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))


def frame(module: str, words: Sequence[str], columns: int, here: Path) -> str:
    """Return the lines on a screen of `columns` columns after a command; colours as `‹green›PASSED‹›`."""
    master, slave = pty.openpty()
    set_size(slave, columns)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in UNSET},
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(STILL_CLOCK))),
        "LLORCH_REGISTRY": str(here / "registry.db"),
        "TERM": "xterm-256color",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", f"llorch.commands.{module}", *words],
        stdin=slave, stdout=slave, stderr=slave, cwd=here, env=environment,
    )  # fmt: skip
    os.close(slave)
    screen = pyte.Screen(columns, LINES)
    stream = pyte.ByteStream(screen)
    while True:
        try:
            read = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not read:
            break
        stream.feed(read)
    os.close(master)
    status = process.wait(timeout=120)
    lines = [_line(screen, number) for number in range(LINES)]
    text = "\n".join(lines).rstrip()
    return f"$ llorch {module} {' '.join(words)}\n{held_still(text)}\n[{status}]\n"


def _line(screen: pyte.Screen, number: int) -> str:
    found, colour = "", "default"
    for column in range(screen.columns):
        cell = screen.buffer[number][column]
        if cell.fg != colour:
            found += "‹›" if cell.fg == "default" else f"‹{cell.fg}›"
            colour = cell.fg
        found += cell.data
    return found.rstrip()


def held_still(text: str) -> str:
    """Return the text with everything that differs between runs replaced."""
    for pattern, same in VOLATILE:
        text = pattern.sub(same, text)
    return text
