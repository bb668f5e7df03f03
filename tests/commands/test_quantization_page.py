"""--report, --reference and --allow-unknown of llorch-convert: when a page is written, and when nothing is."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from llorch.commands.convert.command import main
from llorch.converter import convert
from llorch.converter.quantization import error as reference
from llorch.registry import Registry
from tests.commands.conftest import invoke
from tests.models.gguf_writer import STRING, TYPE_F32, one
from tests.models.tiny import random_llama


def names() -> set[str]:
    return {path.name for path in Path.cwd().iterdir()}


@pytest.fixture
def original(source: Path, tmp_path: Path) -> Path:
    """The model itself, converted without loss: there is no error to find."""
    return convert(source, tmp_path / "original").folder


def test_the_page_is_written_beside_the_folder_with_the_permissions_of_any_new_file(source: Path) -> None:
    Path("other").touch()
    result = invoke(main, source, "-o", "out", "--verify", "none", "--report", "page.html")
    assert result.exit_code == 0, result.output
    assert Path("page.html").read_text().startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(Path("page.html").stat().st_mode) == stat.S_IMODE(Path("other").stat().st_mode)
    assert names() == {source.name, "other", "out", "page.html", "registry.db"}


def test_with_the_original_the_page_and_json_have_the_error_of_each_tensor(
    source: Path, original: Path
) -> None:
    arguments = ["-o", "out", "--verify", "none", "--report", "page.html", "--reference", original, "--json"]
    document = json.loads(invoke(main, source, *arguments).stdout)
    tensors = document["reference"]["tensors"]
    assert len(tensors) == len(document["conversion"]["tensors"]) == 21
    assert {row["relative"] for row in tensors} == {0.0}
    assert "Error against the original" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--reference", "there"], 2, "usage"),
        (["--report", "page.txt"], 2, "usage"),
        (["--report", "out/page.html"], 2, "usage"),
        (["--report", "nowhere/page.html"], 2, "usage"),
        (["--report", "old.html"], 6, "exists"),
        (["--report", "page.html", "--reference", "nowhere"], 3, "missing"),
        (["--report", "page.html", "--reference", "there"], 3, "malformed"),
    ],
)
def test_a_page_that_could_not_be_written_is_refused_before_anything_is_converted(
    source: Path, arguments: list[str], code: int, reason: str
) -> None:
    Path("there").mkdir()
    Path("old.html").write_text("old")
    result = invoke(main, source, "-o", "out", *arguments, "--json")
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1
    assert json.loads(result.stdout)["error"]["reason"] == reason
    assert names() == {source.name, "there", "old.html"}
    assert Path("old.html").read_text() == "old"


def test_force_replaces_a_page(source: Path) -> None:
    Path("page.html").write_text("old")
    arguments = ["-o", "out", "--verify", "none", "--report", "page.html", "--force"]
    assert invoke(main, source, *arguments).exit_code == 0
    assert Path("page.html").read_text() != "old"


def test_when_the_page_fails_the_folder_is_kept_and_recorded(
    source: Path, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error", "model.safetensors")

    monkeypatch.setattr(reference, "compare_with_reference", fails)
    arguments = ["-o", "out", "--verify", "none", "--report", "page.html", "--reference", original]
    result = invoke(main, source, *arguments)
    assert result.exit_code == 5
    assert result.stderr == "llorch-convert: model.safetensors: input/output error\n"
    assert names() == {source.name, "out", "registry.db"}
    with Registry(os.environ["LLORCH_REGISTRY"]) as store:
        assert [row.names for row in store.list()] != []


def test_what_is_unknown_is_an_error_or_when_allowed_a_warning_that_is_recorded(alone: Path) -> None:
    model = random_llama().tensor("blk.0.novelty.weight", [64], TYPE_F32)
    source = model.key("llama.novelty", one(STRING, "x")).write(alone / "new.gguf")
    assert invoke(main, source, "-o", "out", "--verify", "none").exit_code == 3
    result = invoke(main, source, "-o", "out", "--verify", "none", "--allow-unknown")
    assert result.exit_code == 0
    assert result.stderr.count("warning: ") == 2
    record = json.loads(Path("out/conversion.json").read_text())
    assert record["options"]["allow_unknown"] is True
    assert record["unused_tensors"] == {"blk.0.novelty.weight": "unknown"}
    assert ["novelty" in warning for warning in record["warnings"]] == [True, True]
