"""Commands run by a user without a home folder or a name, as in containers, or without read permission."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands.conftest import ROOT

# Root reads everything but without these; the tools that take them away are Linux's.
LIMITS: Sequence[str] = (
    ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
needs_a_limit = pytest.mark.skipif(
    bool(LIMITS) and shutil.which(LIMITS[0]) is None, reason="root cannot be limited: there is no setpriv"
)

# The command line, for a user of whom the machine has no entry.
NOBODY = """
import pwd
def getpwuid(number): raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = getpwuid
from llorch.commands.llorch import main
main(prog_name="llorch")
"""
OF_A_USER = ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "LLORCH_REGISTRY")


def by_nobody(*words: str, planted: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", planted + NOBODY, *words],
        capture_output=True,
        text=True,
        env={
            **{
                key: value
                for key, value in os.environ.items()
                if key not in OF_A_USER and not key.startswith("XDG_")
            },
            "PYTHONPATH": str(ROOT / "src"),
        },
    )
    return done.returncode, done.stdout, done.stderr


def limited(*words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*LIMITS, sys.executable, "-m", "llorch", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    return done.returncode, done.stdout, done.stderr


def test_without_a_home_folder_the_registry_is_the_current_folders(alone: Path) -> None:
    assert by_nobody("registry", "path") == (
        0,
        f"{alone / 'registry.db'}\n",
        "llorch-registry: the current folder; this user has no home folder\n",
    )


def test_without_a_home_folder_a_model_is_converted_recorded_and_named(source: Path, alone: Path) -> None:
    assert by_nobody("convert", str(source), "-o", "made", "--verify", "none")[0] == 0
    code, _, err = by_nobody("registry", "tag", "made", "made@prod", "--json")
    assert (code, err) == (0, "")
    assert f"uid {os.getuid()}" in by_nobody("registry", "alias", "made@prod", "--json")[1]
    assert (alone / "registry.db").exists()
    assert not (alone / "~").exists()


def test_without_a_home_folder_a_bug_is_one_line() -> None:
    planted = "import llorch.registry.database.location as at\nat.locate = lambda *_: 1 / 0\n"
    planted += "import llorch.registry\nllorch.registry.locate = at.locate\n"
    code, _, err = by_nobody("registry", "path", planted=planted)
    assert code == 70
    assert err.count("\n") == 1
    assert err.endswith("(no log could be written: this user has no home folder)\n")


def test_a_users_name_that_is_none_is_a_files(alone: Path) -> None:
    code, _, err = by_nobody("fetch", "--adopt", "~nobody-of-this-name/models")
    assert (code, err) == (3, f"llorch: {alone}/~nobody-of-this-name/models: no such file or directory\n")


@needs_a_limit
@pytest.mark.parametrize(
    "words", [("convert",), ("run", "info"), ("scan",), ("registry", "whence"), ("verify", "--no-record")]
)
def test_a_file_that_may_not_be_read_is_told(words: tuple[str, ...], source: Path) -> None:
    source.chmod(0)
    code, out, err = limited(*words, source.name)
    assert (code, out) == (5, "")
    assert err.endswith(f"{source.name}: permission denied\n")
    assert err.count("\n") == 1


@needs_a_limit
@pytest.mark.parametrize("closed", [".", "below"])
def test_a_folder_that_cannot_be_looked_into_is_not_harmless(closed: str, alone: Path) -> None:
    folder = alone / "model"
    (folder / "below").mkdir(parents=True)
    (folder / closed).chmod(0)
    try:
        code, out, err = limited("scan", "model")
    finally:
        (folder / closed).chmod(0o700)
    assert (code, out) == (5, "")
    assert err == f"llorch: {Path('model', closed)}: permission denied\n"
