"""`llorch`: the same commands under one name, and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llorch.commands.llorch import COMMANDS, main
from llorch.registry import Registry
from tests.commands.conftest import ROOT, invoke
from tests.registry.invented import conversion

PROGRAMS = ("llorch", *(f"llorch-{name}" for name in COMMANDS))


def completed(words: str, **environment: str) -> list[str]:
    """Return bash's completions of a command line's last word."""
    program = words.split()[0]
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    code = f"from llorch.commands.{program.removeprefix('llorch-')} import main; main(prog_name={program!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            variable: "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            **environment,
        },
    )
    return [line.partition(",")[2] for line in done.stdout.split()]


def test_a_command_below_llorch_is_the_program_of_its_own(alone: Path) -> None:
    below, alone_ = invoke(main, "convert", "none.gguf"), invoke(main, "registry", "path")
    assert below.exit_code == 3
    assert below.stderr == "llorch: none.gguf: no such file or directory\n"
    assert alone_.stdout.endswith("registry.db\n")


def test_python_runs_it_where_no_program_was_installed(alone: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llorch", "convert", "none.gguf"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 3
    assert done.stderr == "llorch: none.gguf: no such file or directory\n"


def test_alone_it_prints_its_help() -> None:
    result = invoke(main)
    assert (result.exit_code, result.stderr) == (2, "")
    assert all(f"  {name} " in result.stdout for name in (*COMMANDS, "completion"))


def test_commands_and_options_complete() -> None:
    assert completed("llorch con") == ["convert"]
    assert completed("llorch convert --dty") == ["--dtype"]
    assert completed("llorch-verify --lev") == ["--level"]


def test_names_of_the_registry_complete(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    run = conversion()
    output = run.output()
    assert output is not None
    Registry(path).record(run, names={"smollm2": output.digest, "smollm2@prod": output.digest})
    found = completed("llorch-registry show smo", LLORCH_REGISTRY=str(path))
    assert found == ["smollm2", "smollm2@latest", "smollm2@prod"]
    assert completed("llorch-registry show smo", LLORCH_REGISTRY=str(tmp_path / "none.db")) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_completes_every_program(shell: str) -> None:
    result = invoke(main, "completion", shell)
    assert result.exit_code == 0
    assert all(f"_{name.replace('-', '_').upper()}_COMPLETE" in result.stdout for name in PROGRAMS)
