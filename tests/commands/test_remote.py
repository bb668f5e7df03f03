"""`llorch run remote` with a fake ssh on PATH, which runs the command here, hangs, fails or is never called."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.models.tiny import random_llama

SSH = """#!{python}
import json, os, sys, time
open({log!r}, "a").write(json.dumps(sys.argv[1:]) + "\\n")
how = os.environ.get("FAKE_SSH", "works")
place = sys.argv.index("--")
command = sys.argv[place + 2]
if how == "refused":
    sys.exit(print("ssh: connect to host box port 22: Connection refused", file=sys.stderr) or 255)
if "generate" in command:
    if how == "breaks":
        sys.exit(print("client_loop: send disconnect: Broken pipe", file=sys.stderr) or 255)
    if how == "hangs":
        open({log!r}, "a").write("hangs\\n")
        time.sleep(60)
    if how == "noise":
        sys.exit(print("Welcome to the machine") or 0)
os.execv("/bin/sh", ["sh", "-c", command])
"""


@pytest.fixture
def machine(tmp_path: Path) -> tuple[dict[str, str], Path, Path]:
    """An environment with the fake ssh, the record of its arguments, and a model."""
    tools = tmp_path / "tools"
    tools.mkdir()
    log = tmp_path / "calls"
    log.touch()
    (tools / "ssh").write_text(SSH.format(python=sys.executable, log=str(log)))
    run = f'#!/bin/sh\nexec {sys.executable} -P -m llorch.commands.run "$@"\n'
    (tools / "llorch-run").write_text(run)
    for tool in tools.iterdir():
        tool.chmod(0o755)
    model = random_llama().write(tmp_path / "a model's.gguf")
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    return environment, log, model


def command(host: str, model: Path, *more: str) -> list[str]:
    line = [sys.executable, "-P", "-m", "llorch.commands.run", "remote", host, "cpu", "debug-inference"]
    return [*line, "--model", str(model), "-n", "3", "-p", "it's $HOME; `id`", *more]


def asked(
    machine: tuple[dict[str, str], Path, Path],
    folder: Path,
    *more: str,
    host: str = "me@box",
    how: str = "works",
) -> subprocess.CompletedProcess[str]:
    environment, _, model = machine
    line = command(host, model, "--output", str(folder), *more)
    return subprocess.run(
        line, env={**environment, "FAKE_SSH": how}, capture_output=True, text=True, check=False
    )


def test_a_bundle_has_what_explains_the_answer(
    machine: tuple[dict[str, str], Path, Path], tmp_path: Path
) -> None:
    done = asked(machine, tmp_path / "bundle", "--json")
    assert done.returncode == 0, done.stderr
    bundle = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert json.loads(done.stdout) == {**bundle, "bundle": str(tmp_path / "bundle")}
    assert (bundle["outcome"], bundle["exit_code"], bundle["host"]) == ("answered", 0, "me@box")
    assert set(bundle["seconds"]) == {"environment", "inference"}
    response = json.loads((tmp_path / "bundle" / "response.json").read_text())
    assert response["prompt"] == "it's $HOME; `id`"  # no shell made anything of it
    assert "llorch" in (tmp_path / "bundle" / "environment.txt").read_text()
    assert (tmp_path / "bundle" / "log.txt").exists()
    for call in machine[1].read_text().splitlines():
        arguments: list[str] = json.loads(call)
        assert "BatchMode=yes" in arguments
        assert arguments[arguments.index("--") + 1] == "me@box"
        assert not [argument for argument in arguments if "HostKey" in argument]


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("refused", "not reached"),
        ("breaks", "connection lost"),
        ("noise", "no answer"),
        ("hangs", "timed out"),
    ],
)
def test_what_goes_wrong_on_the_way_is_5_and_has_a_bundle(
    machine: tuple[dict[str, str], Path, Path], tmp_path: Path, how: str, outcome: str
) -> None:
    done = asked(machine, tmp_path / "bundle", "--timeout", "20" if how != "hangs" else "6", how=how)
    assert done.returncode == 5, done.stderr
    assert done.stdout == f"{outcome}: {tmp_path / 'bundle'}\n"
    assert json.loads((tmp_path / "bundle" / "bundle.json").read_text())["outcome"] == outcome


def test_the_other_machines_exit_code_is_ours(
    machine: tuple[dict[str, str], Path, Path], tmp_path: Path
) -> None:
    missing = (machine[0], machine[1], tmp_path / "missing.gguf")
    done = asked(missing, tmp_path / "bundle")
    assert (done.returncode, done.stdout) == (3, f"failed there: {tmp_path / 'bundle'}\n")
    assert "missing.gguf" in (tmp_path / "bundle" / "log.txt").read_text()


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch x", "-l", "a b", "a;b", "a$(b)", "", "@box", "box\n", "-"]
)
def test_a_host_that_is_none_is_never_called(
    machine: tuple[dict[str, str], Path, Path], tmp_path: Path, host: str
) -> None:
    done = asked(machine, tmp_path / "bundle", host=host)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert machine[1].read_text() == ""
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_that_exists_is_kept(machine: tuple[dict[str, str], Path, Path], tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    done = asked(machine, tmp_path / "bundle")
    assert done.returncode == 6
    assert machine[1].read_text() == ""
    assert list((tmp_path / "bundle").iterdir()) == []


def test_ctrl_c_ends_the_connection_and_leaves_nothing(
    machine: tuple[dict[str, str], Path, Path], tmp_path: Path
) -> None:
    environment, log, model = machine
    line = command("box", model, "--output", str(tmp_path / "bundle"))
    process = subprocess.Popen(
        line, env={**environment, "FAKE_SSH": "hangs"}, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while "hangs" not in log.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said
    assert not [path for path in tmp_path.iterdir() if "bundle" in path.name]
