"""Records are returned as they were added: by list, by show, by every form of a reference."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from llorch.registry import Filter, Registry
from llorch.registry.errors import AmbiguousReference, ConflictingRecord, InvalidReference, UnknownReference
from llorch.registry.records.answers import ArtifactAnswer, RunAnswer
from llorch.registry.records.records import CheckStatus, EdgeRecord, Json, RunRecord
from tests.registry.invented import START, conversion, folder, gguf, sha256, uid, verification


def artifact(registry: Registry, reference: str) -> ArtifactAnswer:
    answer = registry.show(reference)
    assert isinstance(answer, ArtifactAnswer)
    return answer


def run(registry: Registry, reference: str) -> RunAnswer:
    answer = registry.show(reference)
    assert isinstance(answer, RunAnswer)
    return answer


def test_a_missing_registry_is_an_empty_answer_and_stays_missing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.db")
    assert registry.list() == []
    with pytest.raises(UnknownReference, match="there is no registry"):
        registry.show("smollm2")
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_is_listed_with_what_it_was_made_from(registry: Registry) -> None:
    registry.record(conversion(), verification("tiny", "PASSED"), names={"tiny": folder().digest})
    [row] = registry.list()
    assert (row.names, row.digest, row.kind, row.architecture, row.dtype, row.size_bytes) == (
        ["tiny@latest"], folder().digest, "hf-folder", "llama", "bfloat16", 2020
    )  # fmt: skip
    assert (row.source, row.verified, row.run, row.at) == ("tiny.gguf", "PASSED", conversion().uid, START)


def test_show_gives_back_all_that_was_told_of_an_artifact(registry: Registry) -> None:
    facts: dict[str, Json] = {"license": "mit", "rope": [1, 2.5, None], "largest": 2**64 - 1}
    told = conversion()
    told = replace(
        told, edges=[told.edges[0], EdgeRecord("output", folder(facts=facts), "tiny", "/models/tiny")]
    )
    registry.record(told, names={"tiny": folder().digest})
    found = artifact(registry, "tiny")
    assert found.facts == facts
    assert list(found.files) == list(folder().files)
    assert found.weights_digest == folder().weights_digest
    assert found.first_seen_at == START
    assert [(use.run, use.role, use.label) for use in found.runs] == [(told.uid, "output", "tiny")]
    assert [(place.host, place.path) for place in found.places] == [("here", "/models/tiny")]


def test_show_gives_back_all_that_was_told_of_a_run(registry: Registry) -> None:
    told = replace(conversion(), error="a: b", exit_code=3, status="failed")
    registry.record(told)
    found = run(registry, told.uid)
    for field in (
        "uid",
        "kind",
        "status",
        "started_at",
        "finished_at",
        "host",
        "params",
        "tools",
        "error",
        "exit_code",
    ):
        assert getattr(found, field) == getattr(told, field), field
    assert [(edge.role, edge.digest, edge.label) for edge in found.edges] == [
        ("input", gguf().digest, "tiny.gguf"),
        ("output", folder().digest, "tiny"),
    ]


def test_checks_come_back_with_the_run_that_measured(registry: Registry) -> None:
    told = verification("tiny", "PASSED", "WARNED")
    check = replace(
        told.checks[0], value="NaN", threshold="1e-8", op="<=", unit="nats", detail={"where": None}
    )
    told = replace(told, checks=[check, told.checks[1]])
    registry.record(told)
    assert [one.result for one in artifact(registry, folder().digest).checks] == list(told.checks)
    assert list(run(registry, told.uid).checks) == list(told.checks)


def test_a_check_of_an_old_record_is_answered_by_its_name_of_today_and_recorded_as_it_was(
    registry: Registry,
) -> None:
    checked = verification("tiny", "PASSED")
    old = replace(checked, checks=[replace(checked.checks[0], name="closure")])
    registry.record(conversion(), old, names={"tiny": folder().digest})
    assert [check.result.name for check in artifact(registry, "tiny").checks] == ["round_trip"]
    assert [check.name for check in run(registry, old.uid).checks] == ["round_trip"]
    assert [check.name for facts in registry.facts().runs for check in facts.checks] == ["closure"]


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((), None),
        (("PASSED", "WARNED"), "PASSED"),
        (("PASSED", "SKIPPED"), "INCOMPLETE"),
        (("SKIPPED",), "INCOMPLETE"),
        (("SKIPPED", "FAILED"), "FAILED"),
        (("PASSED", "ERROR"), "FAILED"),
    ],
)
def test_the_verdict_is_the_worst_of_the_checks(
    registry: Registry, statuses: tuple[CheckStatus, ...], verdict: str | None
) -> None:
    registry.record(conversion(), verification("tiny", *statuses))
    assert [row.verified for row in registry.list()] == [verdict]
    assert artifact(registry, folder().digest).verified == verdict


def test_the_verdict_is_that_of_the_latest_run_that_checked(registry: Registry) -> None:
    later = START + timedelta(hours=1)
    registry.record(conversion(), verification("tiny", "PASSED", at=later), verification("tiny", "FAILED"))
    assert [row.verified for row in registry.list()] == ["PASSED"]
    registry.record(verification("tiny", "FAILED", at=later + timedelta(hours=1)))
    assert [row.verified for row in registry.list()] == ["FAILED"]


def test_the_latest_made_is_listed_first_and_what_is_made_twice_once(registry: Registry) -> None:
    for hour, name in enumerate(["a", "b", "c", "a"]):
        registry.record(conversion(name, at=START + timedelta(hours=hour)))
    assert [row.digest for row in registry.list()] == [folder(name).digest for name in "acb"]
    assert [row.digest for row in registry.list(limit=2)] == [folder(name).digest for name in "ac"]


def test_a_filter_lets_through_what_it_says(registry: Registry) -> None:
    names = {"mine": folder("a").digest}
    registry.record(conversion("a"), conversion("b"), verification("b", "FAILED"), names=names)
    later = conversion("c", at=START + timedelta(days=1))
    phi = replace(folder("c"), architecture="phi3", dtype="float32")
    registry.record(replace(later, edges=[EdgeRecord("output", phi)]))

    def kept(**wanted: object) -> set[str]:
        return {row.digest for row in registry.list(Filter(**wanted))}  # type: ignore[arg-type]

    a, b, c = (folder(name).digest for name in "abc")
    assert kept() == {a, b, c}
    assert kept(name="mine") == {a}
    assert kept(verified="FAILED") == {b}
    assert kept(architecture="phi3") == kept(dtype="float32") == kept(since=START + timedelta(hours=1)) == {c}
    assert kept(kind="gguf") == kept(architecture="llama", dtype="float32") == set()


def test_every_form_of_reference_finds_it(registry: Registry) -> None:
    told = conversion()
    registry.record(told, names={"tiny": folder().digest, "tiny@prod": folder().digest})
    digest, weights = folder().digest, str(folder().weights_digest)
    for reference in (
        digest,
        digest[:13],
        weights,
        weights[:16],
        digest[6:13],
        "tiny",
        "tiny@prod",
        "tiny@prod~0",
    ):
        assert artifact(registry, reference).digest == digest, reference
    for reference in (
        told.uid,
        f"run:{told.uid[:20]}",
        f"run:{told.uid[-12:]}",
        told.uid.replace("-", "")[:20],
    ):
        assert run(registry, reference).uid == told.uid, reference


def test_a_path_is_found_by_what_lies_there(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "renamed.bin").write_bytes(b"tiny.gguf")
    registry.record(conversion())
    found = artifact(registry, str(tmp_path / "renamed.bin"))
    assert found.digest == gguf().digest
    (tmp_path / "renamed.bin").write_bytes(b"tiny.ggug")
    with pytest.raises(UnknownReference, match="renamed"):
        registry.show(str(tmp_path / "renamed.bin"))
    with pytest.raises(FileNotFoundError):
        registry.show(str(tmp_path / "missing"))


def test_what_two_things_are_called_names_both(registry: Registry) -> None:
    first, second = conversion("a"), conversion("b")
    registry.record(first, second, names={"first": folder("a").digest})
    with pytest.raises(AmbiguousReference) as ambiguous:
        registry.show("run:" + first.uid[:8])
    assert {candidate.split()[0] for candidate in ambiguous.value.candidates} == {
        f"run:{first.uid}", f"run:{second.uid}"
    }  # fmt: skip
    same = replace(folder("c"), weights_digest=folder("a").weights_digest)
    registry.record(replace(conversion("c"), edges=[EdgeRecord("output", same)]))
    with pytest.raises(AmbiguousReference) as ambiguous:
        registry.show(str(same.weights_digest))
    pasted = [candidate.split()[0] for candidate in ambiguous.value.candidates]
    assert {artifact(registry, one).digest for one in pasted} == {same.digest, folder("a").digest}
    assert "first@latest" in str(ambiguous.value)


def test_what_is_unknown_says_what_is_spelled_like_it(registry: Registry) -> None:
    registry.record(conversion(), names={"smollm2": folder().digest})
    with pytest.raises(UnknownReference) as unknown:
        registry.show("smolm2")
    assert unknown.value.near == ("smollm2@latest",)


def test_a_name_means_what_it_was_last_given_and_remembers_what_it_meant(registry: Registry) -> None:
    registry.record(conversion("a"), names={"model": folder("a").digest})
    registry.record(conversion("b"), names={"model": folder("b").digest})
    registry.record(names={"model": folder("b").digest})
    assert artifact(registry, "model").digest == folder("b").digest
    assert artifact(registry, "model~1").digest == folder("a").digest
    with pytest.raises(UnknownReference):
        registry.show("model~2")
    assert {tuple(row.names) for row in registry.list()} == {("model@latest",), ()}


def test_a_name_moves_even_when_the_clock_went_back(registry: Registry) -> None:
    registry.record(conversion("a"), conversion("b"))
    registry.record(names={"model": folder("a").digest}, at=START)
    registry.record(names={"model": folder("b").digest}, at=START - timedelta(days=1))
    assert artifact(registry, "model").digest == folder("b").digest


def test_told_twice_is_recorded_once(registry: Registry) -> None:
    told = (conversion(), verification("tiny", "PASSED"))
    for _ in range(2):
        registry.record(*told, names={"tiny": folder().digest})
    assert len(registry.list()) == 1
    found = artifact(registry, "tiny")
    assert (len(found.runs), len(found.checks), len(found.files), len(found.places)) == (2, 1, 2, 1)


def test_a_run_told_by_another_host_adds_a_place_only(registry: Registry) -> None:
    registry.record(conversion())
    registry.record(conversion(host="there"))
    assert {place.host for place in artifact(registry, folder().digest).places} == {"here", "there"}
    assert run(registry, conversion().uid).host == "here"


def test_a_run_told_otherwise_is_refused_and_nothing_of_it_stays(registry: Registry) -> None:
    registry.record(conversion())
    forged = replace(conversion(), params={"dtype": "float32"})
    with pytest.raises(ConflictingRecord, match="params"):
        registry.record(conversion("other"), forged)
    assert len(registry.list()) == 1


def test_content_told_otherwise_is_refused(registry: Registry) -> None:
    registry.record(conversion())
    for other in (
        replace(folder(), size_bytes=2021),
        replace(folder(), weights_digest=f"weights1:{sha256('x')}"),
        replace(folder(), files=[replace(folder().files[0], sha256=sha256("x"))]),
    ):
        with pytest.raises(ConflictingRecord):
            registry.record(replace(conversion("again"), edges=[EdgeRecord("output", other)]))


def test_two_conversions_leave_two_records_of_themselves(registry: Registry) -> None:
    for n in range(2):
        record = replace(
            folder().files[0], path="conversion.json", role="record", sha256=sha256(f"record {n}")
        )
        made = replace(folder(), files=[*folder().files, record])
        registry.record(
            replace(conversion(at=START + timedelta(hours=n)), edges=[EdgeRecord("output", made)])
        )
    found = artifact(registry, folder().digest)
    assert [file.path for file in found.files].count("conversion.json") == 2


def test_what_was_not_known_is_filled_in_and_a_contradiction_is_settled_by_order(registry: Registry) -> None:
    bare = replace(folder(facts={"license": "mit"}), weights_digest=None, dtype=None, files=())
    registry.record(replace(conversion("bare"), edges=[EdgeRecord("output", bare)]))
    full = folder(facts={"license": "apache-2.0", "base_model": "x"})
    registry.record(replace(conversion(), edges=[EdgeRecord("output", full)]))
    found = artifact(registry, folder().digest)
    assert (found.weights_digest, found.dtype, len(found.files)) == (full.weights_digest, "bfloat16", 2)
    assert found.facts == {"license": "apache-2.0", "base_model": "x"}


def test_a_name_is_given_to_what_is_recorded_only(registry: Registry) -> None:
    with pytest.raises(UnknownReference):
        registry.record(conversion(), names={"tiny": gguf("other").digest})
    with pytest.raises(InvalidReference):
        registry.record(conversion(), names={"deadbeef": folder().digest})
    assert registry.list() == []


def test_times_are_kept_in_utc(registry: Registry) -> None:
    india = datetime(2026, 11, 24, 6, 32, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    registry.record(RunRecord(uid("x"), "convert", "succeeded", india))
    found = run(registry, uid("x"))
    assert found.started_at == india
    assert found.started_at.tzinfo == UTC
    assert found.to_json()["started_at"] == "2026-11-24T01:02:00.000000Z"


def test_every_answer_is_json(registry: Registry) -> None:
    registry.record(conversion(), verification("tiny", "PASSED"), names={"tiny": folder().digest})
    answers = [*registry.list(), registry.show("tiny"), registry.show(conversion().uid)]
    documents = [json.loads(json.dumps(answer.to_json(), allow_nan=False)) for answer in answers]
    assert [document.get("schema") for document in documents] == [None, "llorch.artifact/v1", "llorch.run/v1"]
    assert documents[0]["size_bytes"] == 2020
