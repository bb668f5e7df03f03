"""Run commands in this process or in one of their own, with a registry of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llorch.commands.cli.declaration import GuardedCommand
from tests.models.tiny import random_llama

ROOT = Path(__file__).parents[2]

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder that holds the registry and the logs."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("LLORCH_REGISTRY", str(here / "registry.db"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return here


@pytest.fixture
def source(alone: Path) -> Path:
    """A small llama."""
    return random_llama().write(alone / "Tiny.Q4.gguf")


def invoke(command: GuardedCommand, *arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def started(module: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start `python -m llorch.commands.MODULE` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"llorch.commands.{module}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
    )
