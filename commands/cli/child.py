"""Another command of ours in a process of its own: whatever it does to that one, this one can tell."""

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
    """`python -m llorch.commands.MODULE`, what it prints on stdout kept; quietly: without what it says on stderr.

    timeout: seconds after which it is ended, and subprocess.TimeoutExpired raised.
    """
    paths = [os.fspath(PACKAGES), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return subprocess.run(  # noqa: S603  # our own module, and no shell
        # -P: a folder named `llorch` where the user stands is not ours.
        [sys.executable, "-P", "-m", f"llorch.commands.{module}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quietly else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
        timeout=timeout,
    )


def verify_in_fresh_process(path: Path, level: str, *options: str) -> Report | Failure:
    """The report of `llorch-verify PATH`, which shares nothing with this process but the disk, and records nothing."""
    again = f"llorch-verify {printable(path, 200, quoted=False)}"
    try:
        child = run_command("verify", os.fspath(path), "--level", level, *options, "--no-record", "--json")
    except OSError as error:  # no memory or right to start another process
        why = f"{error.strerror}, what it was of is kept: {again} tries again"
        return Failure(5, "io", f"the verification could not be started: {why}")
    if child.returncode in (0, 1, 7):  # 7: some checks could not be made, which the report says
        from llorch.verification import Report  # a few milliseconds that --help does not need

        return Report.from_json(json.loads(child.stdout))
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
    return Failure(
        1, "unverified", f"the verification ended with {how}, what it was of is kept: {again} tries again"
    )
