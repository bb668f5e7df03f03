"""docs/cli.md's exit codes, each produced by a command in a process of its own, as a shell sees it."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands.conftest import ROOT, started

PAGE = ROOT / "docs" / "cli.md"
ROW = re.compile(r"^\| (\d+) \| (.+) \|$", re.MULTILINE)

# What stands for a bug of ours: nothing that can be typed may reach one.
PLANTED_BUG = """
import llorch.registry
def locate(*_): raise KeyError("planted")
llorch.registry.locate = locate
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A command line that ends with a code. before: the preparation. said: a part of its line on stderr."""

    words: tuple[str, ...]
    said: str
    before: Callable[[Path], None] = lambda _: None
    signal: int | None = None
    most_bytes: int | None = None
    environment: tuple[tuple[str, str], ...] = ()


def converted(here: Path) -> None:
    run("convert", "Tiny.Q4.gguf", "-o", "made", "--verify", "none")


def damaged(here: Path) -> None:
    """Change one byte of a weight."""
    converted(here)
    weights = here / "made" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)


def without_source(here: Path) -> None:
    converted(here)
    (here / "Tiny.Q4.gguf").unlink()


def no_registry(here: Path) -> None:
    (here / "registry.db").write_text("no database\n" * 100)


def with_a_bug(here: Path) -> None:
    (here / "sitecustomize.py").write_text(PLANTED_BUG)


def fifo(here: Path) -> None:
    os.mkfifo(here / "fifo")


WAYS: dict[int, Way] = {
    0: Way(("convert", "Tiny.Q4.gguf", "-o", "out", "--verify", "none"), ""),
    1: Way(("verify", "made"), "FAILED", damaged),
    2: Way(("convert", "--no-such-option"), "No such option"),
    3: Way(("convert", "missing.gguf"), "missing.gguf: no such file or directory"),
    4: Way(("registry", "list"), "registry.db", no_registry),
    5: Way(("convert", "Tiny.Q4.gguf", "-o", "out", "--verify", "none"), "file too large", most_bytes=20_000),
    6: Way(("convert", "Tiny.Q4.gguf", "-o", "made"), "--force", converted),
    7: Way(("verify", "made"), "INCOMPLETE", without_source),
    70: Way(("registry", "list"), "this is a bug of ours", with_a_bug, environment=(("PYTHONPATH", "."),)),
    130: Way(
        ("run", "generate", "Tiny.Q4.gguf", "--file", "fifo"), "stopped by signal 2", fifo, signal.SIGINT
    ),
    143: Way(
        ("run", "generate", "Tiny.Q4.gguf", "--file", "fifo"), "stopped by signal 15", fifo, signal.SIGTERM
    ),
}


def run(module: str, *words: str) -> None:
    """Run a command that must succeed."""
    process = started(module, *words)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def test_the_page_has_a_way_to_each_of_its_codes() -> None:
    page = PAGE.read_text().split("## Exit codes")[1].split("\n## ")[0]
    assert [int(code) for code, _ in ROW.findall(page)] == list(WAYS)


@pytest.mark.parametrize("code", WAYS)
def test_each_code_is_reached_by_a_command(code: int, source: Path, alone: Path) -> None:
    way = WAYS[code]
    way.before(alone)
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    for name, value in way.environment:
        environment[name] = f"{value}{os.pathsep}{environment[name]}"

    def limited() -> None:
        if way.most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (way.most_bytes, way.most_bytes))

    process = subprocess.Popen(
        [sys.executable, "-m", f"llorch.commands.{way.words[0]}", *way.words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=limited,
    )
    if way.signal is not None:
        with (alone / "fifo").open("w"):  # open once the command reads it, and then it waits
            process.send_signal(way.signal)
            process.wait(timeout=60)
    _, said = process.communicate(timeout=120)
    status = process.returncode
    assert (128 - status if status < 0 else status) == code, said
    assert way.said in said
    assert "Traceback" not in said
