"""`llorch scan`: findings as a table, JSON and SARIF; what somebody takes; and how other commands tell of them."""

from __future__ import annotations

import json
from pathlib import Path

from llorch.commands.scan import main
from tests.commands.conftest import invoke

GATE = "{% if strftime_now('%Y') > '2027' %}x{% endif %}"


def test_findings_are_told_and_an_error_only_if_strict(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(GATE)
    result = invoke(main, tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    cells = ["date-gate", "warning", "chat_template.jinja", "1", "a condition on strftime_now"]
    assert result.stdout.rstrip("\n").split("\t") == cells
    assert invoke(main, tmp_path, "--strict").exit_code == 1
    document = json.loads(invoke(main, tmp_path, "--json").stdout)
    assert [one["rule"] for one in document["findings"]] == ["date-gate"]


def test_what_is_accepted_is_recorded_with_who_and_why_and_no_longer_told(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(GATE)
    allow = tmp_path.parent / f"{tmp_path.name}.toml"
    assert invoke(main, tmp_path, "--accept", "date-gate", "--allow", allow).exit_code == 2
    said = ("--by", "Ada", "--reason", "seasons", "--allow", allow)
    assert invoke(main, tmp_path, "--strict", "--accept", "date-gate", *said).exit_code == 0
    result = invoke(
        main, tmp_path, "--strict", "--allow", allow, "--sarif", tmp_path.parent / f"{tmp_path.name}.sarif"
    )
    assert (result.exit_code, result.stdout) == (0, "")
    assert "allowed by Ada (seasons)" in result.stderr
    (log,) = json.loads((tmp_path.parent / f"{tmp_path.name}.sarif").read_text())["runs"]
    assert log["results"][0]["suppressions"][0]["justification"] == "seasons (Ada)"
    (tmp_path / "chat_template.jinja").write_text(GATE + "{{ ''.__class__ }}")
    assert invoke(main, tmp_path, "--strict", "--allow", allow).exit_code == 1


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    result = invoke(main, tmp_path / "nothing")
    assert result.exit_code == 3
    assert "nothing" in result.stderr
