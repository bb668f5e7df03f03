"""The corpus as a whole: the numbers that were promised, the same bytes again, and the command that meets it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.check import Run, complaints
from tests.corpus.malformed import good, malformed, write

ROOT = Path(__file__).parents[2]
BASE = Run(3, "x: is missing\n", 0.3, 100 << 20, [])


def test_there_are_193_malformed_files_and_7_good_ones() -> None:
    assert Counter(case.group for case in malformed()) == {
        "header": 77,
        "tensor": 33,
        "model": 46,
        "vocabulary": 27,
        "split": 10,
    }
    assert len(good()) == 7
    assert len({(case.group, case.name) for case in malformed()}) == 193


def test_the_corpus_is_the_same_bytes_on_every_run() -> None:
    again = malformed()
    assert [case.content for case in malformed() if not callable(case.content)] == [
        case.content for case in again if not callable(case.content)
    ]


@pytest.mark.parametrize(
    ("run", "complaint"),
    [
        (Run(3, "x: llama.block_count is 0\n", 0.35, 120 << 20, []), ""),
        (Run(1, "x: block_count\n", 0.3, 0, []), "status 1"),
        (Run(124, "x: block_count\n", 0.3, 0, []), "out of time"),
        (Run(3, "", 0.3, 0, []), "nothing"),
        (Run(3, "x: block_count\nhint\n", 0.3, 0, []), "2 lines"),
        (Run(3, "x: \x1b[2Jblock_count\n", 0.3, 0, []), "control"),
        (Run(3, "x: is wrong\n", 0.3, 0, []), "lacks"),
        (Run(3, "Traceback (most recent call last)\nblock_count\n", 0.3, 0, []), "traceback"),
        (Run(3, "x: block_count\n", 0.41, 0, []), "CPU"),
        (Run(3, "x: block_count\n", 0.3, 165 << 20, []), "memory"),
        (Run(3, "x: block_count\n", 0.3, 0, ["out"]), "left"),
    ],
)
def test_the_checker_sees(run: Run, complaint: str) -> None:
    found = complaints(run, ["llama.block_count|block_count"], BASE)
    assert bool(found) == bool(complaint)
    assert complaint in "".join(found)


@pytest.mark.slow
def test_llorch_convert_treats_every_file_as_it_should(tmp_path: Path) -> None:
    write(tmp_path / "corpus")
    command = [
        sys.executable,
        "-m",
        "llorch.commands.convert",
        "{}",
        "-o",
        "{out}",
        "--verify",
        "none",
    ]
    command += ["--registry", str(tmp_path / "registry.db")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.corpus.check", str(tmp_path / "corpus"), "--", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
