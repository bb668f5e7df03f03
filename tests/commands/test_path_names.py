"""Paths that are not UTF-8 or hold a line end are refused by every command before any work, in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import ROOT

PROGRAM = b"from llorch.commands.llorch import main; main()"
NOT_UTF8, TWO_LINES = b"caf\xe9.gguf", b"two\nlines.gguf"


def refused(*arguments: bytes | str, cwd: Path) -> str:
    """Return the stderr of `llorch`; it must end with 2 and write nothing."""
    before = sorted(cwd.iterdir())
    done = subprocess.run(
        [
            os.fsencode(sys.executable),
            b"-c",
            b"from llorch.commands.llorch import main; main()",
            *map(os.fsencode, arguments),
        ],
        cwd=cwd,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert sorted(cwd.iterdir()) == before
    return done.stderr.decode()


@pytest.mark.parametrize("name", [NOT_UTF8, TWO_LINES], ids=["not UTF-8", "two lines"])
@pytest.mark.parametrize(
    "command",
    [
        ["convert", "?"],
        ["convert", "Tiny.Q4.gguf", "-o", "?"],
        ["verify", "?"],
        ["run", "info", "?"],
        ["scan", "?"],
    ],
    ids=" ".join,
)
def test_a_path_that_no_line_can_name_is_refused_before_the_work(
    source: Path, command: list[str], name: bytes
) -> None:
    (source.parent / os.fsdecode(name)).write_bytes(source.read_bytes())
    told = refused(*(name if word == "?" else word for word in command), cwd=source.parent)
    assert told.count("\n") == 1
    assert ("is not UTF-8: rename it" if name == NOT_UTF8 else "has a line end") in told
    assert (r"caf\xe9.gguf" if name == NOT_UTF8 else r"two\nlines.gguf") in told


def test_the_folders_above_count_too(source: Path) -> None:
    folder = source.parent / "a\nb"
    folder.mkdir()
    source.rename(folder / source.name)
    assert r"a\nb/Tiny.Q4.gguf" in refused("convert", source.name, cwd=folder)
