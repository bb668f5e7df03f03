"""`llorch-verify`: a table or a document, and an exit code that is 0 only if nothing failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llorch import converter
from llorch.commands.verify import main
from llorch.verification.checks import CHECKS
from llorch.verification.report import Report
from tests.commands.conftest import invoke


@pytest.fixture
def folder(source: Path) -> Path:
    """A converted folder beside its source."""
    converter.convert(source, "made")
    return Path("made")


def test_a_right_folder_ends_with_0_and_a_row_for_every_check(folder: Path) -> None:
    result = invoke(main, folder, "--level", "full")
    assert result.exit_code == 0, result.output
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == list(CHECKS)
    assert {row[1] for row in rows} == {"PASSED"}
    assert result.stderr.startswith("llorch-verify: made: PASSED: ")


def test_json_is_the_report_and_nothing_is_said_on_stderr(folder: Path) -> None:
    result = invoke(main, folder, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert Report.from_json(json.loads(result.stdout)).outcome == "PASSED"


def test_a_wrong_folder_ends_with_1(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("other")
    result = invoke(main, folder)
    assert result.exit_code == 1
    assert "failed: files.digests, template.text" in result.stderr


def test_a_folder_without_its_source_is_incomplete_and_ends_with_7(folder: Path, source: Path) -> None:
    source.unlink()
    result = invoke(main, folder)
    assert result.exit_code == 7
    assert "INCOMPLETE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere"], 3),
        (["made/config.json"], 3),
        (["made", "--against", "nowhere.gguf"], 3),
        (["made", "--against", "made/config.json"], 2),
        (["made", "--level", "half"], 2),
        (["made", "--device", "abacus"], 2),
    ],
)
def test_what_cannot_be_judged_ends_in_one_line(folder: Path, arguments: list[str], code: int) -> None:
    result = invoke(main, *arguments)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
