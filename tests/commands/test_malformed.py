"""The corpus of malformed files through the command, in this process; `tests.corpus` runs it under limits too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llorch.commands.convert.command import main
from tests.commands.conftest import invoke
from tests.corpus.case import Case
from tests.corpus.malformed import good, malformed


def name_of(case: Case) -> str:
    return f"{case.group}-{case.name}"


@pytest.mark.parametrize("case", malformed(), ids=name_of)
def test_a_malformed_file_ends_in_one_line_that_names_what_is_wrong_and_leaves_a_note_of_the_run_alone(
    case: Case, alone: Path, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    file = case.write(tmp_path / "corpus")
    result = invoke(main, file, "-o", "out", "--verify", "none", "--json")
    assert result.exit_code == 3, result.output
    line = result.stderr.removesuffix("\n")
    assert line.isprintable()
    assert line.startswith("llorch-convert: ")
    assert case.lacking(line) == []
    error = json.loads(result.stdout)["error"]
    assert (error["exit_code"], f"llorch-convert: {error['message']}") == (3, line)
    assert [path.name for path in alone.iterdir()] == ["registry.db.runs"]
    (note,) = Path("registry.db.runs").iterdir()
    assert json.loads(note.read_text())["error"] == error["message"]


@pytest.mark.parametrize("case", good(), ids=name_of)
def test_a_good_file_converts(case: Case, alone: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    file = case.write(tmp_path / "corpus")
    result = invoke(main, file, "-o", "out", "--verify", "none")
    assert result.exit_code == 0, result.output
    assert {"config.json", "model.safetensors", "conversion.json"} <= {
        path.name for path in Path("out").iterdir()
    }
