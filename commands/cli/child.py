"""Run another llorch command in a child process, so that a crash of it can be reported by this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import llorch
from llorch.base.printable import printable
from llorch.commands.cli.exit_codes import Failure

if TYPE_CHECKING:
    from llorch.verification import Report

PACKAGES = Path(llorch.__file__).parent.parent


def run_command(
    module: str, *arguments: str, quietly: bool = False, timeout: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m llorch.commands.MODULE ARGUMENTS` and capture its stdout.

    quietly: discard its stderr. timeout: seconds until it is killed and subprocess.TimeoutExpired is raised.
    """
    paths = [os.fspath(PACKAGES), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return subprocess.run(  # noqa: S603  # our own module, and no shell
        # -P: a folder named `llorch` in the current directory must not be imported instead.
        [sys.executable, "-P", "-m", f"llorch.commands.{module}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quietly else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
        timeout=timeout,
    )


def verify_in_fresh_process(path: Path, level: str, *options: str) -> Report | Failure:
    """Run `llorch-verify PATH` in a new process, without recording, and return its report.

    The new process shares nothing with this one but the disk. Returns a Failure if it gave no report.
    """
    again = f"llorch-verify {printable(path, 200, quoted=False)}"
    try:
        child = run_command("verify", os.fspath(path), "--level", level, *options, "--no-record", "--json")
    except OSError as error:  # no memory or right to start another process
        why = f"{error.strerror}, what it was of is kept: {again} tries again"
        return Failure(5, "io", f"the verification could not be started: {why}")
    if child.returncode in (0, 1, 7):  # 7: some checks could not run; the report says which
        from llorch.verification import Report  # imported here to keep --help fast

        return Report.from_json(json.loads(child.stdout))
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
    return Failure(
        1, "unverified", f"the verification ended with {how}, what it was of is kept: {again} tries again"
    )
