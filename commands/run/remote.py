"""`llorch-run remote HOST BACKEND debug-inference`: run a prompt on another machine, and fetch the diagnostics.

The other machine is reached by the system's ssh, in batch mode (no prompts) and with its usual checks of host keys. The
result is a bundle: a folder with a description of the machine, llorch's answer, its log, and the times.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from llorch import converter
from llorch.base.times import rfc3339
from llorch.base.version import __version__
from llorch.commands import cli
from llorch.commands.run.options import NAME

HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9_.:-]*)")
BACKENDS = ("cpu", "cuda", "mps")
SSH_FAILED = 255  # ssh(1): exit status of an error of ssh itself, not of the command
CONNECT_S = 15
OUTPUT_BYTES = 16 << 20  # most bytes that are kept of each stream
# Describes the other machine, before the inference. Each command prints its own line; if one fails, the others go on.
ENVIRONMENT = (
    "uname -a; nproc 2>/dev/null; uptime; command -v llorch-run; llorch-run --version; python3 --version; "
    "nvidia-smi --query-gpu=name,memory.total,memory.used,driver_version --format=csv,noheader 2>/dev/null; exit 0"
)


@dataclass(frozen=True)
class Ran:
    """A command that was run on the other machine. code: its exit status, None if it timed out."""

    code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float


commands = click.Group()  # `llorch.commands.run.command` adds it to its group


@cli.subcommand(commands, "remote", example=f"{NAME} remote gpu-box cuda debug-inference --model smollm2")
@click.argument("host")
@click.argument("backend", type=click.Choice(BACKENDS))
@click.argument("action", type=click.Choice(["debug-inference"]))
@click.option("--model", required=True, help="The model there: a path, or a name of that machine's registry.")
@click.option(
    "-p",
    "--prompt",
    default="The capital of France is",
    show_default=True,
    help="The text to go on from.",
)
@click.option(
    "-n",
    "--max-new-tokens",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    help="Tokens to generate, at most.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds that all of it may take.",
)
@click.option(
    "-o",
    "--output",
    type=cli.PATH,
    help="The new folder for what comes back.  [default: debug-HOST-TIME]",
)
def remote(
    host: str,
    backend: str,
    action: str,
    model: str,
    prompt: str,
    max_new_tokens: int,
    timeout: float,
    output: Path | None,
    as_json: bool,
) -> int:
    """Run a prompt on another machine, and fetch what explains it.

    HOST is reached by ssh, and has a llorch of its own. It ends with the other machine's exit code, with 5 where
    that was not reached, was lost, or took too long.
    """
    if not HOST.fullmatch(host):
        raise click.UsageError(
            f"HOST {host!r} is no name of a machine: write host, user@host, or a name of ssh's config"
        )
    ssh = shutil.which("ssh")
    if ssh is None:
        raise OSError("there is no ssh on this machine's PATH")
    begun = datetime.now(UTC)
    stamp = begun.strftime("%Y%m%dT%H%M%SZ")
    bundle = output or Path(f"debug-{re.sub('[^A-Za-z0-9.-]', '-', host)}-{stamp}")
    if bundle.exists():
        raise converter.TargetExists(bundle, "exists: give --output another name")
    until = time.monotonic() + timeout
    asked = [
        "llorch-run",
        "generate",
        model,
        "-p",
        prompt,
        "-n",
        str(max_new_tokens),
        "--device",
        backend,
        "--json",
    ]
    with tempfile.TemporaryDirectory(dir=bundle.absolute().parent, prefix=f".{bundle.name}.") as staging:
        folder = Path(staging) / "bundle"
        folder.mkdir()
        there = over_ssh(ssh, host, ENVIRONMENT, until)
        answer = over_ssh(ssh, host, shlex.join(asked), until) if there.code == 0 else there
        outcome = verdict(there, answer)
        write_bundle(folder, there, answer)
        document = {
            "schema": "llorch.remote/v1",
            "host": host,
            "backend": backend,
            "action": action,
            "command": asked,
            "started": rfc3339(begun),
            "outcome": outcome,
            "exit_code": answer.code,
            "seconds": {"environment": round(there.seconds, 3), "inference": round(answer.seconds, 3)},
            "llorch_here": __version__,
        }
        cli.write_file(folder / "bundle.json", json.dumps(document, indent=2) + "\n")
        folder.rename(bundle)
    if as_json:
        cli.write_json({**document, "bundle": str(bundle)})
    else:
        click.echo(f"{outcome}: {bundle}")
    if outcome in ("answered", "failed there"):
        return answer.code or 0
    return 5


def over_ssh(ssh: str, host: str, command: str, until: float) -> Ran:
    """Run a shell command on the other machine. ssh cannot prompt, and HOST cannot be taken for an option.

    until: deadline, by time.monotonic.
    """
    call = [ssh, "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-T", "--", host, command]
    begun = time.monotonic()
    process = subprocess.Popen(  # noqa: S603  # the system's ssh, without a shell here
        call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        stdout, stderr = process.communicate(timeout=max(0.1, until - begun))
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        code = None
    except BaseException:  # a signal: end the connection, and with it the remote command
        process.kill()
        process.wait()
        raise
    return Ran(code, stdout[:OUTPUT_BYTES], stderr[:OUTPUT_BYTES], time.monotonic() - begun)


def verdict(there: Ran, answer: Ran) -> str:
    """Return the outcome as stable words, for scripts."""
    if there.code is None or answer.code is None:
        return "timed out"
    if SSH_FAILED in (there.code, answer.code) or there.code < 0 or answer.code < 0:
        return "connection lost" if there.code == 0 else "not reached"
    if answer.code:
        return "failed there"
    try:
        json.loads(answer.stdout)
    except ValueError:
        return "no answer"
    return "answered"


def write_bundle(folder: Path, there: Ran, answer: Ran) -> None:
    """Write the raw output of both commands into the bundle."""
    cli.write_file(folder / "environment.txt", there.stdout)
    cli.write_file(folder / "response.json", answer.stdout if answer is not there else b"")
    cli.write_file(folder / "log.txt", there.stderr + (answer.stderr if answer is not there else b""))
