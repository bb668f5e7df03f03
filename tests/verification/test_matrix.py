"""The matrix: which models are found, what is compared, and the pages made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from llorch import converter
from llorch.commands import cli
from llorch.verification.matrix import Row, candidates, compared, document
from llorch.verification.matrix_pages import junit, support_page
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
    rows = compared(
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


def test_a_folder_in_which_nothing_ran_fails(tmp_path: Path) -> None:
    assert cli.run_command("verify", "matrix", str(tmp_path), quietly=True).returncode == 1


def test_a_row_without_a_run_has_no_tick() -> None:
    rows = [replace(RAN, status="skipped", why="no such device", device="cuda"), RAN]
    page = support_page([document(rows, made="2026-01-01T00:00:00Z", tools={"llorch": "1"}, prompt="p")])
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
        document([row], made="2026-01-01T00:00:00Z", tools={"llorch": "1"}, prompt="p")
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
    return [json.loads(path.read_bytes()) for path in sorted(RECEIPTS.glob("*.json"))]


if __name__ == "__main__":
    PAGE.write_text(support_page(receipts()))
