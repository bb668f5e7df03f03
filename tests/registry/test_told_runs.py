"""`history` and `show` of conversions and verifications that fail, are stopped or are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llorch.commands import verify
from llorch.commands.cli.declaration import GuardedCommand
from llorch.commands.convert import command as convert
from llorch.commands.registry import command as registry
from llorch.registry import Registry
from llorch.verification.checks import CHECKS
from tests.conftest import REPOSITORY
from tests.models.tiny import random_llama


@pytest.fixture(autouse=True)
def here(registry_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model; registry and notes are given by the environment."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LLORCH_REGISTRY", registry_url)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    random_llama().write(folder / "tiny.gguf")
    return folder


@pytest.fixture
def storage_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make verifications check only files and digests, and run no model."""
    kept = {name: check for name, check in CHECKS.items() if name.startswith(("files.", "source."))}
    assert {"files.digests", "source.digest"} <= kept.keys()
    monkeypatch.setattr("llorch.verification.checks.CHECKS", kept)


def call(command: GuardedCommand, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def history() -> list[dict[str, Any]]:
    result = call(registry.main, "history", "--json")
    assert result.exit_code == 0, result.output
    runs: list[dict[str, Any]] = json.loads(result.stdout)["runs"]
    return runs


def kinds() -> list[tuple[str, str]]:
    return [(run["kind"], run["status"]) for run in history()]


def shown(uid: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(call(registry.main, "show", uid, "--json").stdout)
    return document


def at_work(folder: Path) -> subprocess.Popen[str]:
    """Start a conversion in a process of its own, and stop it while it writes."""
    file = random_llama(layers=2, width=768, heads=8, feed_forward=2048).write(folder / "large.gguf")
    words = [
        sys.executable,
        "-m",
        "llorch.commands.convert",
        file,
        "-o",
        "out",
        "--verify",
        "none",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        list(map(str, words)),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    while process.poll() is None and not list(folder.glob(".out.staging-*/folder/model.safetensors")):
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)
    return process


def test_a_conversion_and_its_verification_are_two_runs_and_leave_no_note(here: Path) -> None:
    assert call(convert.main, "tiny.gguf", "-o", "out").exit_code == 0
    assert kinds() == [("verify", "succeeded"), ("convert", "succeeded")]
    assert history()[1]["uid"] == json.loads(Path("out/conversion.json").read_text())["run"]
    assert not list(here.parent.rglob("*runs*"))


def test_a_conversion_that_was_told_is_the_same_run_when_it_is_adopted() -> None:
    assert call(convert.main, "tiny.gguf", "-o", "out", "--verify", "none").exit_code == 0
    before = shown(history()[0]["uid"])
    for _ in range(2):
        assert call(registry.main, "adopt", "out").exit_code == 0
    assert kinds() == [("convert", "succeeded")]
    assert shown(history()[0]["uid"]) == before


def test_a_malformed_file_is_a_failed_run_with_the_line_and_the_exit_code(here: Path) -> None:
    Path("cut.gguf").write_bytes(Path("tiny.gguf").read_bytes()[:20_000])
    result = call(convert.main, "cut.gguf", "-o", "out")
    assert result.exit_code == 3
    [run] = history()
    assert (run["kind"], run["status"], run["source"]) == ("convert", "failed", str(here / "cut.gguf"))
    assert result.stderr == f"llorch-convert: {run['error']}\n"
    told = shown(run["uid"])
    assert (told["exit_code"], told["error"], told["params"]["dtype"]) == (3, run["error"], "auto")
    assert told["tools"].keys() == {"llorch", "python"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.gguf"],
        ["empty"],
        ["tiny.gguf", "--dtype", "float8"],
        ["--help"],
        ["tiny.gguf", "--report", "page"],
    ],
    ids=["missing", "folder", "usage", "help", "report"],
)
def test_what_never_began_is_no_run(arguments: list[str]) -> None:
    Path("empty").mkdir()
    call(convert.main, *arguments)
    assert history() == []


def test_a_target_that_is_taken_fails_the_run() -> None:
    Path("out").mkdir()
    Path("out", "notes.txt").touch()
    assert call(convert.main, "tiny.gguf", "-o", "out").exit_code == 6
    assert [(run["status"], shown(run["uid"])["exit_code"]) for run in history()] == [("failed", 6)]


def test_a_bug_of_ours_fails_the_run_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def forgetful(*_: object, **__: object) -> None:
        raise KeyError("a key")

    monkeypatch.setattr("llorch.converter.convert", forgetful)
    assert call(convert.main, "tiny.gguf", "-o", "out").exit_code == 70
    [run] = history()
    assert (run["status"], run["error"]) == ("failed", "KeyError: 'a key'")
    assert len(list(tmp_path.glob("state/**/*.log"))) == 1


def test_a_vocabulary_is_no_conversion(here: Path) -> None:
    model = random_llama()
    model.tensors.clear()
    model.write(here / "vocabulary.gguf")
    assert call(convert.main, "vocabulary.gguf", "-o", "out").exit_code == 0
    assert history() == []


def test_a_run_is_running_until_its_process_is_killed_and_then_it_died(here: Path) -> None:
    process = at_work(here)
    assert kinds() == [("convert", "running")]
    [run] = history()
    assert (run["source"], run["finished_at"]) == (str(here / "large.gguf"), None)
    process.kill()
    process.communicate()
    assert kinds() == [("convert", "died")]
    assert shown(run["uid"])["status"] == "died"
    assert call(registry.main, "list", "--json").stdout.count("digest") == 0
    assert call(convert.main, "large.gguf", "-o", "out", "--verify", "none").exit_code == 0
    assert kinds() == [("convert", "succeeded"), ("convert", "died")]


def test_a_run_that_is_seen_while_it_goes_on_ends_as_one_run(here: Path) -> None:
    process = at_work(here)
    assert kinds() == [("convert", "running")]
    process.send_signal(signal.SIGCONT)
    process.communicate()
    assert process.returncode == 0
    assert kinds() == [("convert", "succeeded")]
    assert "source" not in shown(history()[0]["uid"])["params"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_by_a_signal_says_so(here: Path, number: signal.Signals) -> None:
    process = at_work(here)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.communicate()
    assert process.returncode == -number
    [run] = history()
    assert (run["status"], run["error"]) == ("failed", f"stopped by signal {number.value}")
    assert shown(run["uid"])["exit_code"] == 128 + number


def test_a_conversion_that_could_not_be_recorded_is_no_failed_run_and_can_be_adopted(
    here: Path, registry_url: str
) -> None:
    before = os.environ["LLORCH_REGISTRY"]
    broken = here / "broken.db"
    broken.write_bytes(b"no database, but as long as one\n" * 200)
    result = call(convert.main, "tiny.gguf", "-o", "out", "--verify", "none", "--registry", broken)
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["broken.db", "out", "tiny.gguf"]
    assert call(registry.main, "adopt", "out").exit_code == 0
    assert os.environ["LLORCH_REGISTRY"] == before == registry_url
    assert kinds() == [("convert", "succeeded")]


@pytest.mark.usefixtures("storage_checks")
def test_a_verification_of_a_known_folder_is_recorded() -> None:
    assert call(convert.main, "tiny.gguf", "-o", "out", "--verify", "none").exit_code == 0
    result = call(verify.main, "out")
    assert result.exit_code == 0
    assert f"; recorded in {os.environ['LLORCH_REGISTRY'].replace('llorch@', '…@')}\n" in result.stderr
    assert kinds() == [("verify", "succeeded"), ("convert", "succeeded")]
    [row] = json.loads(call(registry.main, "list", "--json").stdout)["artifacts"]
    assert row["verified"] == "PASSED"
    run = shown(history()[0]["uid"])
    assert [(edge["role"], edge["digest"]) for edge in run["edges"]] == [
        ("input", row["digest"]), ("reference", history()[1]["inputs"][0])
    ]  # fmt: skip
    document = json.loads(call(verify.main, "out", "--json").stdout)
    assert document["registry"] == {
        "registry": os.environ["LLORCH_REGISTRY"], "name": "out@latest", "digest": row["digest"]
    }  # fmt: skip
    assert len(history()) == 3


@pytest.mark.usefixtures("storage_checks")
def test_a_verification_is_not_recorded_where_nobody_asked_or_knows_the_folder() -> None:
    assert call(convert.main, "tiny.gguf", "-o", "out", "--verify", "none").exit_code == 0
    assert call(verify.main, "out", "--no-record").exit_code == 0
    assert kinds() == [("convert", "succeeded")]
    Path("out").rename("moved")
    (Path("moved") / "chat_template.jinja").write_text("another")
    assert call(verify.main, "moved").exit_code == 1
    assert kinds() == [("convert", "succeeded")]
    Path("tiny.gguf").rename("other.gguf")
    assert (
        call(convert.main, "other.gguf", "-o", "other", "--verify", "none", "--registry", "b.db").exit_code
        == 0
    )
    Registry("c.db").record()
    assert call(verify.main, "other", "--registry", "c.db").exit_code == 0
    assert Registry("c.db").history() == []


def test_a_verification_that_cannot_be_made_is_a_failed_run() -> None:
    assert call(convert.main, "tiny.gguf", "-o", "out", "--verify", "none").exit_code == 0
    Path("bad.gguf").write_bytes(b"GGUF")
    result = call(verify.main, "out", "--against", "bad.gguf", "--other-source")
    assert result.exit_code == 3
    assert call(verify.main, "nowhere").exit_code == 3
    assert kinds() == [("verify", "failed"), ("convert", "succeeded")]
    assert result.stderr == f"llorch-verify: {history()[0]['error']}\n"


def test_a_verification_that_was_killed_leaves_the_conversion_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = type("Done", (), {"returncode": -9, "stdout": b""})()
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
    assert call(convert.main, "tiny.gguf", "-o", "out").exit_code == 1
    assert kinds() == [("verify", "failed"), ("convert", "succeeded")]
    assert history()[0]["error"].startswith("the verification ended with signal 9")
