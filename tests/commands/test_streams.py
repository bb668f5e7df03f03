"""Commands whose standard streams are closed, full, or cut off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import ROOT


def run(redirected: str, *words: str) -> tuple[int, str, str]:
    """Run `llorch WORDS` with a shell's redirections; return its exit code, stdout and stderr."""
    command = f'"$@" {redirected}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", sys.executable, "-m", "llorch", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "words", [("registry", "path"), ("registry", "--help"), ("registry", "path", "--json"), ("--version",)]
)
def test_a_result_that_has_nowhere_to_go_is_told(words: tuple[str, ...]) -> None:
    assert run(">&-", *words) == (5, "", "llorch: stdout: is closed\n")


def test_an_error_needs_no_stdout() -> None:
    assert run(">&-", "convert", "none.gguf") == (3, "", "llorch: none.gguf: no such file or directory\n")


def test_an_error_without_stderr_is_an_exit_code() -> None:
    assert run("2>&-", "convert", "none.gguf") == (3, "", "")


def test_closed_stdin_is_an_empty_one(source: Path) -> None:
    code, out, err = run("<&-", "run", "generate", str(source))
    assert (code, out) == (2, "")
    assert err == (
        "llorch: Missing option '-p' / '--prompt': stdin is empty too. (see llorch run generate --help)\n"
    )


def test_a_conversion_needs_no_streams(source: Path, alone: Path) -> None:
    code, _, _ = run("<&- 2>&-", "convert", str(source), "-o", "made", "--verify", "none")
    assert code == 0
    assert (alone / "made" / "conversion.json").exists()


def test_of_no_file_the_number_of_a_closed_stream_is_taken(source: Path, alone: Path) -> None:
    assert run("<&- >&- 2>&-", "convert", str(source), "-o", "made", "--verify", "quick")[0] == 5
    assert run("", "verify", "made", "--no-record")[0] == 0
