"""A model that was fetched is tried out, in a process of its own: whatever it does to that one, this one can tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from commands.failures import Failure
from formats.shown import shown
from verification.report import Report

ROOT = Path(__file__).parent.parent


def tried(model: Path, level: str) -> Report | Failure:
    """The report of `llorch-verify MODEL`, for which nothing else is asked but the model itself."""
    command = [
        sys.executable, "-P", "-m", "commands.verify", os.fspath(model), "--level", level, "--alone", "--json"
    ]  # fmt: skip
    paths = [os.fspath(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    child = subprocess.run(  # noqa: S603  # our own module, and no shell
        command,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
    )
    if child.returncode in (0, 1):
        return Report.from_json(json.loads(child.stdout))
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
    again = f"llorch-verify {shown(model, 200, quoted=False)} tries again"
    return Failure(1, "unverified", f"trying the model out ended with {how}, the files are kept: {again}")
