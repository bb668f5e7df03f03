"""How a command ends, seen from outside: a process of its own, its exit status, its two streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# A command that ends in the way that its argument names.
COMMAND = """
import os, time
import click
from llorch.commands import cli

@cli.command("llorch-example", example="llorch-example well")
@click.argument("how")
def main(how, as_json):
    "Ends as HOW says."
    if how == "sleep":
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            os.write(1, b"cleaned up\\n")
    if how == "warn":
        import warnings
        warnings.warn("noise")
    if how == "flood":
        for _ in range(100_000):
            click.echo("hello")
    if how == "missing":
        open("/no/such/file")
    if how == "odd":
        raise RuntimeError("two\\nlines")
    return 1 if how == "badly" else 0

main()
"""


def start(*args: str, **extra: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **extra}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run(*args: str, **extra: str) -> tuple[int, str, str]:
    process = start(*args, **extra)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_command_that_did_its_work_ends_with_0_and_says_nothing_on_stderr() -> None:
    assert run("well") == (0, "", "")


def test_a_command_may_return_another_exit_code() -> None:
    assert run("badly") == (1, "", "")


def test_a_missing_file_ends_with_3_and_one_line() -> None:
    assert run("missing") == (3, "", "llorch-example: /no/such/file: no such file or directory\n")


def test_with_json_the_error_is_a_document_on_stdout_too() -> None:
    code, out, err = run("missing", "--json")
    message = "/no/such/file: no such file or directory"
    assert json.loads(out) == {"error": {"reason": "missing", "message": message, "exit_code": code}}
    assert err == f"llorch-example: {message}\n"


def test_a_wrong_option_ends_with_2_and_one_line() -> None:
    code, out, err = run("--nonsense")
    assert (code, out) == (2, "")
    assert err == "llorch-example: No such option '--nonsense'. (see llorch-example --help)\n"


def test_a_bug_ends_with_70_one_line_and_a_log_with_the_traceback(tmp_path: Path) -> None:
    code, out, err = run("odd", XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert (code, out) == (70, "")
    assert err.count("\n") == 1
    (log,) = tmp_path.rglob("*.log")
    assert str(log) in err
    assert "RuntimeError: two\nlines" in log.read_text()
    assert '"odd"' in log.read_text()


def test_debug_shows_the_traceback_before_the_line() -> None:
    _, _, err = run("missing", "--debug")
    assert err.startswith("Traceback (most recent call last)")
    assert err.endswith("llorch-example: /no/such/file: no such file or directory\n")


def test_warnings_of_libraries_stay_off_stderr_unless_asked_for() -> None:
    assert run("warn")[2] == ""
    assert "noise" in run("warn", PYTHONWARNINGS="default")[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cleans_up_then_ends_the_process_by_that_signal(number: signal.Signals) -> None:
    process = start("sleep")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.send_signal(number)  # as timeout(1) does: the cleaning still comes first
    out, err = process.communicate(timeout=60)
    assert process.returncode == -number  # which a shell shows as 128 + number
    assert out == "cleaned up\n"
    assert err == f"llorch-example: stopped by signal {number.value}\n"


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + COMMAND.replace("60", "1")
    process = subprocess.Popen(
        [sys.executable, "-c", script, "sleep"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_reader_who_has_seen_enough_ends_the_command_quietly() -> None:
    process = start("flood")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "hello\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stdout_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "flood"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            check=False,
        )
    assert done.returncode == 5
    assert done.stderr == "llorch-example: no space left on device\n"


def test_the_version_is_one_line() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("llorch-example ")
    assert out.count("\n") == 1


def test_a_terminal_gets_a_progress_bar_and_a_pipe_gets_none() -> None:
    script = """
import io, sys
from llorch.commands.cli import progress
with progress("work") as told:
    print(told is None)
print("rich" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", "NO_COLOR": "1"}
    piped = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert piped.stdout == "True\nFalse\n"
    ours, theirs = os.openpty()
    terminal = subprocess.Popen(
        [
            sys.executable,
            "-c",
            script.replace("print(told is None)", "told(5, 10); import time; time.sleep(1.5)"),
        ],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
    )
    terminal.communicate(timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"work" in shown
    assert b"\x1b[3" not in shown, "NO_COLOR asks for no colours"
