"""The CI action: its scripts run here as a runner would run them, and say no to a conversion that was changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from llorch.converter import convert
from tests.models.tiny import random_llama
from tests.sarif import valid_results

ROOT = Path(__file__).parent.parent
ACTION = ROOT / ".github" / "actions" / "verify-conversion" / "action.yml"


@pytest.fixture(scope="module")
def action() -> Mapping[str, Any]:
    """The action's document."""
    document: Mapping[str, Any] = yaml.safe_load(ACTION.read_text())
    return document


@pytest.fixture
def runner(tmp_path: Path) -> Mapping[str, str]:
    """A folder that was converted, and the environment of a step: `llorch` is this tree's."""
    random_llama().write(tmp_path / "model.gguf")
    convert(tmp_path / "model.gguf", tmp_path / "made")
    program = tmp_path / "bin" / "llorch"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from llorch.commands.llorch import main; main()" "$@"\n'
    )
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }


def run_step(action: Mapping[str, Any], name: str, runner: Mapping[str, str], **inputs: str) -> int:
    """The exit status of a step with its inputs, as `shell: bash` runs it."""
    (step,) = [one for one in action["runs"]["steps"] if one["name"] == name]
    given = {**{key: str(one.get("default", "")) for key, one in action["inputs"].items()}, **inputs}
    variables = {
        variable: given[expression.removeprefix("${{ inputs.").removesuffix(" }}")]
        for variable, expression in step["env"].items()
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, env={**runner, **variables}, capture_output=True).returncode


def test_a_sound_conversion_passes_and_a_changed_one_does_not(
    action: Mapping[str, Any], runner: Mapping[str, str], tmp_path: Path
) -> None:
    made, source = str(tmp_path / "made"), str(tmp_path / "model.gguf")
    assert run_step(action, "Scan", runner, folder=made) == 0
    assert (tmp_path / "output").read_text() == f"sarif={tmp_path}/llorch-scan.sarif\n"
    assert run_step(action, "Verify", runner, folder=made, source=source) == 0
    assert (tmp_path / "output").read_text().endswith(f"sarif={tmp_path}/llorch-verify.sarif\n")
    assert valid_results((tmp_path / "llorch-scan.sarif").read_bytes()) == []
    weights = tmp_path / "made" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    assert run_step(action, "Verify", runner, folder=made, source=source) == 1
    assert any(
        one["level"] == "error" for one in valid_results((tmp_path / "llorch-verify.sarif").read_bytes())
    )
    (tmp_path / "made" / "modeling.py").write_text("")
    assert run_step(action, "Scan", runner, folder=made) == 1


def test_inputs_reach_scripts_as_variables_and_never_as_text(action: Mapping[str, Any]) -> None:
    assert all("${{" not in step["run"] for step in action["runs"]["steps"])
