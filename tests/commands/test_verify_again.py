"""`llorch-verify` a second time: checks that passed on the same bytes are kept, all others run again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llorch.base.file_digests import FileDigests
from llorch.commands.convert import main as convert
from llorch.commands.verify import main
from llorch.verification import judge
from llorch.verification.checks import CHECKS
from llorch.verification.report import Report, Status
from tests.commands.conftest import invoke

MADE_ALWAYS = {"files.listed", "files.digests", "source.digest"}


@pytest.fixture
def folder(source: Path) -> Path:
    """A conversion in the registry, verified once at level full."""
    assert invoke(convert, source, "-o", "made", "--verify", "none").exit_code == 0
    assert not kept(verified())
    return Path("made")


def verified(*options: str) -> Report:
    """Return the command's report; the level is full unless the options give another."""
    result = invoke(
        main, "made", "--json", *(["--level", "full"] if "--level" not in options else []), *options
    )
    return Report.from_json(json.loads(result.stdout))


def kept(report: Report) -> set[str]:
    """Return the checks that were not run again."""
    return {result.name for result in report.results if result.made}


def test_what_passed_is_not_made_again_and_is_shown_with_its_time(folder: Path) -> None:
    first, second, third = verified("--again"), verified(), verified()
    assert not kept(first)
    assert kept(second) == {r.name for r in second.results if r.status != "SKIPPED"} - MADE_ALWAYS
    assert {r.made for r in second.results if r.made} == {r.made for r in third.results if r.made}
    assert [(r.name, r.status, r.value) for r in second.results] == [
        (r.name, r.status, r.value) for r in first.results
    ]
    assert second.outcome == "PASSED"
    said = invoke(main, folder, "--level", "full")
    assert "made before" in said.stderr
    assert "--again" in said.stderr
    assert "made 20" in said.stdout


def test_again_makes_them(folder: Path) -> None:
    assert kept(verified())
    assert not kept(verified("--again"))


def test_another_level_has_nothing_to_keep(folder: Path) -> None:
    assert not kept(verified("--level", "quick"))


def flip(path: Path) -> None:
    """Flip the last bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda: flip(Path("made/model.safetensors")),
        lambda: flip(Path("Tiny.Q4.gguf")),
        lambda: Path("made/README.md").write_text("other"),
        lambda: Path("made/more.txt").write_text("other"),
        lambda: Path("Tiny.Q4.gguf").unlink(),
    ],
    ids=["a weight", "the source", "the card", "another file", "no source"],
)
def test_a_changed_byte_of_either_side_keeps_nothing(folder: Path, change: Callable[[], object]) -> None:
    assert kept(verified())
    change()
    assert not kept(verified())


def test_a_folder_whose_record_was_made_to_agree_keeps_nothing(folder: Path) -> None:
    weights, record = folder / "model.safetensors", folder / "conversion.json"
    document = json.loads(record.read_bytes())
    flip(weights)
    for row in document["files"]:
        if row["path"] == weights.name:
            row["sha256"] = FileDigests().of(weights)
    record.write_text(json.dumps(document))
    report = verified()
    assert not kept(report)
    assert report.outcome == "FAILED"


def test_a_record_that_disagrees_with_the_files_fails_though_they_are_the_same(folder: Path) -> None:
    record = folder / "conversion.json"
    document = json.loads(record.read_bytes())
    document["files"] = [row for row in document["files"] if row["path"] != "config.json"]
    record.write_text(json.dumps(document))
    assert verified().outcome == "FAILED"


def test_other_versions_or_other_code_keep_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "llorch.code" in judge.tools()
    monkeypatch.setattr(judge, "code_digest", lambda: "0")
    assert not kept(verified())


def test_what_failed_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = CHECKS["logits.top"]
    measure = type(failing).judged
    monkeypatch.setattr(
        type(failing),
        "judged",
        lambda one, *found: Status.FAILED if one.name == failing.name else measure(one, *found),
    )
    assert verified("--again").outcome == "FAILED"
    report = verified()
    assert failing.name not in kept(report)
    assert report.outcome == "FAILED"
    assert "logits.worst" in kept(report)
