"""The matrix: the models it finds, what it compares, and the pages made from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click
import pytest

from llorch import converter
from llorch.commands import cli
from llorch.commands import matrix as command
from llorch.verification import PROMPT
from llorch.verification.matrix.pages import junit, support_page
from llorch.verification.matrix.rows import (
    Candidate,
    Row,
    candidates,
    compare_rows,
    digest_of_model,
    document,
)
from tests.models.tiny import random_llama

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RECEIPTS = DOCS / "MODEL_SUPPORT.md", DOCS / "receipts"

RAN = Row(
    "m", "gguf", "cpu", "passed", architecture="llama", ids=(1, 2), top={"1": -0.5}, speed=2.0, memory=10**6
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model as a file and as a folder, beside what is none."""
    place = tmp_path / "models"
    place.mkdir()
    (place / "one.gguf").write_bytes(random_llama().build())
    converter.convert(place / "one.gguf", place / "one", dtype="float32")
    (place / "two-00002-of-00002.gguf").write_bytes(b"")
    (place / "mmproj-one.gguf").write_bytes(b"")
    (place / "readme.txt").write_text("")
    return place


def test_files_and_folders_are_found_and_later_parts_and_projectors_are_not(models: Path) -> None:
    assert [(one.name, one.format) for one in candidates(models)] == [("one", "folder"), ("one", "gguf")]
    assert [one.format for one in candidates(models, ["gguf"])] == ["gguf"]


def test_another_text_or_other_logits_on_another_device_fail() -> None:
    rows = compare_rows(
        [RAN, replace(RAN, device="cuda", ids=(1, 3)), replace(RAN, device="mps", top={"1": -0.9})]
    )
    assert [row.status for row in rows] == ["passed", "failed", "failed"]
    assert "greedy text" in rows[1].why
    assert "0.4" in rows[2].why


def test_the_command_runs_what_is_there_and_writes_its_files(models: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("junit", "receipt", "markdown")}
    options = [f"--{name}={path}" for name, path in files.items()]
    done = cli.run_command("verify", "matrix", str(models), "-n", "3", *options, "--json")
    made = json.loads(done.stdout)
    assert done.returncode == 0, made
    assert made["counts"] == {"passed": 2, "failed": 0, "skipped": 0}
    assert json.loads(files["receipt"].read_text()) == made
    assert ET.fromstring(files["junit"].read_text()).attrib["tests"] == "2"
    assert "| llama | one | folder, gguf | ✓ | not run | not run |" in files["markdown"].read_text()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the processes by given answers; returns the formats of the rows that were run."""
    seen = []

    def run(one: Candidate, device: str, tokens: int, seconds: float | None) -> Row:
        assert (device, tokens, seconds) == ("cpu", 3, None)
        seen.append(one.format)
        return replace(RAN, model=one.name, format=one.format, receipt=digest_of_model(one.path))

    monkeypatch.setattr(command, "in_own_process", run)
    return seen


def test_resume_runs_what_did_not_pass_with_these_bytes_and_nothing_else(
    models: Path, tmp_path: Path, ran: list[str]
) -> None:
    jobs = [(one, "cpu") for one in candidates(models)]
    rows = list(command.run_rows(jobs, 3, {}, None))
    file, versions = tmp_path / "receipt.json", {"llorch": "1"}

    def again(tokens: int = 3) -> list[str]:
        ran.clear()
        assert len(list(command.run_rows(jobs, 3, command.passed_in(file, versions, tokens), None))) == 2
        return ran

    assert again() == ["folder", "gguf"]  # no receipt yet
    command.write_receipt(file, document(rows, made="", tools=versions, prompt=PROMPT, tokens=3))
    assert again() == []
    assert again(tokens=4) == ["folder", "gguf"]
    (models / "one.gguf").write_bytes(random_llama(seed=1).build())
    assert again() == ["gguf"]
    failed = [replace(rows[0], status="failed"), rows[1]]
    command.write_receipt(file, document(failed, made="", tools=versions, prompt=PROMPT, tokens=3))
    assert again() == ["folder", "gguf"]


def test_what_was_not_run_when_the_time_is_up_has_no_row(models: Path, ran: list[str]) -> None:
    jobs = [(one, "cpu") for one in candidates(models)]
    rows = list(command.run_rows(jobs, 3, {}, None))
    before = {("one", "gguf", "cpu"): rows[1]}
    assert list(command.run_rows(jobs, 3, before, 0.0)) == [rows[1]]


def test_a_file_that_is_no_receipt_is_refused_by_its_name(models: Path, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("[]")
    with pytest.raises(click.UsageError, match=r"page\.md is no receipt"):
        command.passed_in(tmp_path / "page.md", {}, 3)


def test_when_the_time_is_up_before_a_row_the_command_says_what_is_left(models: Path, tmp_path: Path) -> None:
    options = ("--minutes", "1e-6", f"--receipt={tmp_path / 'r'}")
    assert cli.run_command("verify", "matrix", str(models), *options, quietly=True).returncode == 7


def test_a_folder_in_which_nothing_ran_fails(tmp_path: Path) -> None:
    assert cli.run_command("verify", "matrix", str(tmp_path), quietly=True).returncode == 1


def test_a_row_without_a_run_has_no_tick() -> None:
    rows = [replace(RAN, status="skipped", why="no such device", device="cuda"), RAN]
    page = support_page(
        [document(rows, made="2026-01-01T00:00:00Z", tools={"llorch": "1"}, prompt="p", tokens=3)]
    )
    assert "| llama | m | gguf | ✓ | – | not run |" in page
    assert "no such device" in page


def test_junit_says_what_failed_and_why() -> None:
    suite = ET.fromstring(
        junit([RAN, replace(RAN, status="failed", why="a <b> & c"), replace(RAN, status="skipped")])
    )
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["skipped"]) == ("3", "1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "a <b> & c"


def test_another_text_in_another_receipt_fails_too() -> None:
    receipts = [
        document([row], made="2026-01-01T00:00:00Z", tools={"llorch": "1"}, prompt="p", tokens=3)
        for row in (replace(RAN, device="cuda", ids=(1, 3)), RAN)
    ]
    page = support_page(receipts)
    assert "| llama | m | gguf | ✓ | ✗ | not run |" in page
    assert "its greedy text is another than on cpu" in page


def test_the_support_page_is_what_the_receipts_make() -> None:
    assert PAGE.read_text() == support_page(receipts()), "`make docs` writes it anew"


def test_the_support_page_has_a_tick_for_the_families_that_people_ask_for() -> None:
    ran = {row["architecture"] for one in receipts() for row in one["rows"] if row["status"] == "passed"}
    assert {"llama", "mistral", "phi3", "qwen2"} <= ran


def receipts() -> list[Any]:
    """Return the receipts of matrix runs, which are in a folder with others."""
    found = [json.loads(path.read_bytes()) for path in sorted(RECEIPTS.glob("*.json"))]
    return [receipt for receipt in found if receipt.get("schema") == "llorch.matrix/v1"]


if __name__ == "__main__":
    PAGE.write_text(support_page(receipts()))
