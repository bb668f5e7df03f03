"""`llorch-registry`: what it lists and shows, where the registry is, and what it imports."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llorch import converter
from llorch.commands.registry.command import main
from llorch.registry import Registry
from tests.commands.conftest import invoke


@pytest.fixture
def folder(source: Path) -> Path:
    """A converted folder that no registry knows."""
    converter.convert(source, "made")
    return Path("made")


def test_an_empty_registry_lists_nothing_makes_no_file_and_says_so_on_stderr(alone: Path) -> None:
    result = invoke(main, "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"llorch-registry: nothing is recorded in {alone / 'registry.db'}\n"
    assert not list(alone.iterdir())


def test_what_was_adopted_is_listed_with_whole_values_between_tabs(folder: Path) -> None:
    assert invoke(main, "adopt", folder).exit_code == 0
    record = json.loads((folder / "conversion.json").read_text())
    size = sum(row["size"] for row in record["files"])
    (line,) = invoke(main, "list").stdout.splitlines()
    name, format, dtype, total, source, verified, made, digest = line.split("\t")
    assert (name, format, dtype, total) == ("made", "llama hf-folder", "float32", str(size))
    assert (source, verified, digest) == ("Tiny.Q4.gguf", "", record["tree"])
    assert made.startswith(record["times"]["finished"][:16])


def test_list_as_json_is_one_document(folder: Path) -> None:
    invoke(main, "adopt", folder)
    document = json.loads(invoke(main, "list", "--json").stdout)
    assert document["schema"] == "llorch.list/v1"
    assert [row["names"] for row in document["artifacts"]] == [["made@latest"]]


@pytest.mark.parametrize("reference", ["made", "made@latest", "./made", "digest"])
def test_show_finds_an_artifact_by_name_alias_path_and_digest(folder: Path, reference: str) -> None:
    invoke(main, "adopt", folder)
    tree = json.loads((folder / "conversion.json").read_text())["tree"]
    result = invoke(main, "show", tree[:14] if reference == "digest" else reference, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["digest"] == tree


def test_show_without_a_terminal_begins_every_line_with_its_key(folder: Path) -> None:
    invoke(main, "adopt", folder)
    keys = {line.split("\t")[0] for line in invoke(main, "show", "made").stdout.splitlines()}
    assert {"digest", "kind", "weights_digest", "files", "runs", "names"} <= keys


def test_show_of_a_run_tells_what_went_in_and_came_out(folder: Path) -> None:
    invoke(main, "adopt", folder)
    run = json.loads(invoke(main, "show", "made", "--json").stdout)["runs"][0]["run"]
    document = json.loads(invoke(main, "show", run, "--json").stdout)
    assert document["kind"] == "convert"
    assert [edge["role"] for edge in document["edges"]] == ["input", "output"]


@pytest.mark.parametrize(
    ("reference", "reason"), [("nobody", "unknown"), ("sha256:0000000", "unknown"), ("Ünicode", "invalid")]
)
def test_a_reference_to_nothing_ends_with_3_and_a_word_for_scripts(
    folder: Path, reference: str, reason: str
) -> None:
    invoke(main, "adopt", folder)
    result = invoke(main, "show", reference, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["reason"] == reason
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_no_registry_ends_with_4(source: Path) -> None:
    result = invoke(main, "list", "--registry", source, "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["reason"] == "not-a-registry"
    assert result.stderr.count(source.name) == 1


def test_adopting_twice_records_once(folder: Path) -> None:
    assert invoke(main, "adopt", folder).exit_code == 0
    assert invoke(main, "adopt", folder).exit_code == 0
    document = json.loads(invoke(main, "show", "made", "--json").stdout)
    assert len(document["runs"]) == 1


def test_a_conversion_that_was_recorded_is_the_same_run_when_adopted(source: Path) -> None:
    from llorch.commands.convert.command import main as convert

    assert invoke(convert, source, "-o", "made", "--verify", "none").exit_code == 0
    assert invoke(main, "adopt", "made").exit_code == 0
    document = json.loads(invoke(main, "show", "made", "--json").stdout)
    assert [run["kind"] for run in document["runs"]] == ["convert"]


def test_a_folder_that_was_changed_is_not_adopted(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    result = invoke(main, "adopt", folder)
    assert result.exit_code == 3
    assert "'config.json' is missing or is not what conversion.json says" in result.stderr
    with Registry(os.environ["LLORCH_REGISTRY"]) as store:
        assert store.list() == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"times": {"started": "now"}}'])
def test_a_broken_record_is_told_in_one_line(folder: Path, content: str) -> None:
    (folder / "conversion.json").write_text(content)
    result = invoke(main, "adopt", folder)
    assert result.exit_code == 3
    assert "is no record of a conversion" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_without_a_record_is_not_adopted(alone: Path) -> None:
    assert invoke(main, "adopt", alone).exit_code == 3


def test_path_says_which_registry_and_why(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = invoke(main, "path")
    assert told.stdout == f"{alone / 'registry.db'}\n"
    assert "LLORCH_REGISTRY" in told.stderr
    assert json.loads(invoke(main, "path", "--registry", "other.db", "--json").stdout)["registry"] == str(
        alone / "other.db"
    )
    monkeypatch.delenv("LLORCH_REGISTRY")
    monkeypatch.setenv("XDG_DATA_HOME", str(alone / "data"))
    assert invoke(main, "path").stdout == f"{alone / 'data' / 'llorch' / 'registry.db'}\n"
    (alone / "registry.db").touch()
    assert invoke(main, "path").stdout == f"{alone / 'registry.db'}\n"


def test_path_never_shows_a_password(alone: Path) -> None:
    result = invoke(main, "path", "--registry", "postgresql://me:hunter2@host/db", "--json")
    assert result.exit_code == 0
    assert "hunter2" not in result.output


def test_a_group_without_a_command_prints_its_help(alone: Path) -> None:
    result = invoke(main)
    assert (result.exit_code, result.stderr) == (2, "")
    assert result.stdout == invoke(main, "--help").stdout
