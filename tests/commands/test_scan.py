"""`llorch scan`: findings as a table, JSON and SARIF; accepted findings; and warnings of other commands."""

from __future__ import annotations

import json
from pathlib import Path

from llorch.commands.convert.command import main as convert
from llorch.commands.scan import main
from llorch.commands.verify import main as verify
from tests.commands.conftest import invoke
from tests.models.tiny import random_llama
from tests.sarif import valid_results

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
    results = valid_results((tmp_path.parent / f"{tmp_path.name}.sarif").read_text())
    assert results[0]["suppressions"][0]["justification"] == "seasons (Ada)"
    (tmp_path / "chat_template.jinja").write_text(GATE + "{{ ''.__class__ }}")
    assert invoke(main, tmp_path, "--strict", "--allow", allow).exit_code == 1


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    result = invoke(main, tmp_path / "nothing")
    assert result.exit_code == 3
    assert "nothing" in result.stderr


def test_the_log_is_valid_whatever_was_scanned_and_names_files_where_they_lie(alone: Path) -> None:
    (alone / "odd \u00e9: x").mkdir()
    (alone / "odd \u00e9: x" / "mod\u00e9l.py").write_text("")
    (alone / "chat_template.jinja").write_text(GATE + "{{ ''['\\x1b'] }}")
    random_llama().write(alone / "model.gguf")
    result = invoke(main, "odd \u00e9: x", "chat_template.jinja", "model.gguf", "--sarif", "log.sarif")
    assert result.exit_code == 0
    found = {
        row["ruleId"]: row["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for row in valid_results((alone / "log.sarif").read_bytes())
    }
    assert found["python-file"] == "odd%20%C3%A9%3A%20x/mod%C3%A9l.py"
    assert found["date-gate"] == found["control-character"] == "chat_template.jinja"


def test_a_verification_writes_a_valid_log_of_folders_and_files(source: Path, alone: Path) -> None:
    assert invoke(convert, source, "-o", "made", "--verify", "none").exit_code == 0
    assert invoke(verify, "made", "--sarif", "sound.sarif").exit_code == 0
    assert [
        row for row in valid_results((alone / "sound.sarif").read_bytes()) if row["level"] == "error"
    ] == []
    weights = alone / "made" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    assert invoke(verify, "made", "--sarif", "damaged.sarif").exit_code == 1
    failed = [row for row in valid_results((alone / "damaged.sarif").read_bytes()) if row["level"] == "error"]
    assert "files.digests" in {row["ruleId"] for row in failed}
    invoke(verify, source, "--sarif", "alone.sarif")
    valid_results((alone / "alone.sarif").read_bytes())
