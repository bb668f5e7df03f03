"""Values that databases would change are returned as recorded, or are refused before they reach a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.registry import Registry
from llorch.registry.errors import RefusedRecord
from llorch.registry.records.answers import ArtifactAnswer, RunAnswer
from llorch.registry.records.records import (
    ArtifactRecord,
    CheckRecord,
    EdgeRecord,
    FileRecord,
    Json,
    RunRecord,
)
from tests.registry.invented import START, conversion, folder, sha256, uid

MEGABYTE = "x" * 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        2**64 - 1,
        -(2**63),
        1e308,
        5e-324,
        True,
        None,
        MEGABYTE,
        "\U0001f600",
        "e\u0301",
        "%_'\"\\",
        "\x01\x7f",
        [{}],
    ],
    ids=lambda value: repr(value)[:12],
)
def test_json_comes_back_as_it_was(registry: Registry, value: Json) -> None:
    made = folder(facts={"value": value})
    registry.record(replace(conversion(), params={"value": value}, edges=[EdgeRecord("output", made)]))
    found, run = registry.show(made.digest), registry.show(conversion().uid)
    assert isinstance(found, ArtifactAnswer)
    assert isinstance(run, RunAnswer)
    for facts in (found.facts, run.params):
        assert repr(facts["value"]) == repr(value)


@pytest.mark.parametrize("value", ["-0.0", "NaN", "Infinity", "18446744073709551615", "0.1", MEGABYTE])
def test_what_a_check_measured_comes_back_as_text(registry: Registry, value: str) -> None:
    made = folder()
    check = CheckRecord(made.digest, "kl", "PASSED", value, value)
    registry.record(replace(conversion(), edges=[EdgeRecord("output", made)], checks=[check]))
    found = registry.show(made.digest)
    assert isinstance(found, ArtifactAnswer)
    assert found.checks[0].result == check


NUL, HALF = "a\0b", "a\ud800b"


@pytest.mark.parametrize("text", [NUL, HALF], ids=["NUL", "half a surrogate pair"])
def test_text_that_a_database_would_change_is_refused_everywhere(text: str) -> None:
    for field in ("host", "error"):
        with pytest.raises(RefusedRecord):
            replace(conversion(), **{field: text})  # type: ignore[arg-type]
    for field in ("architecture", "dtype"):
        with pytest.raises(RefusedRecord):
            replace(folder(), **{field: text})  # type: ignore[arg-type]
    for facts in ({"a": text}, {text: 1}, {"a": [{"b": text}]}):
        with pytest.raises(RefusedRecord):
            folder(facts=facts)
        with pytest.raises(RefusedRecord):
            replace(conversion(), params=facts)
    with pytest.raises(RefusedRecord):
        replace(conversion(), tools={"llorch": text})
    with pytest.raises(RefusedRecord):
        EdgeRecord("input", folder(), text)
    with pytest.raises(RefusedRecord):
        EdgeRecord("input", folder(), path=text)
    with pytest.raises(RefusedRecord):
        CheckRecord(folder().digest, "kl", "PASSED", text)
    with pytest.raises(RefusedRecord):
        FileRecord(text, sha256("a"), 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_cannot_say_is_refused(value: Json) -> None:
    with pytest.raises(RefusedRecord):
        folder(facts={"value": value})


def test_more_json_than_a_row_should_hold_is_refused() -> None:
    with pytest.raises(RefusedRecord, match="bytes"):
        folder(facts={"value": MEGABYTE * 5})


@pytest.mark.parametrize("size", [-1, 2**63, 2**64 - 1])
def test_a_size_that_no_column_holds_is_refused(size: int) -> None:
    with pytest.raises(RefusedRecord):
        FileRecord("a", sha256("a"), size)
    with pytest.raises(RefusedRecord):
        replace(folder(), size_bytes=size)


def test_the_largest_size_comes_back(registry: Registry) -> None:
    made = replace(folder(), size_bytes=2**63 - 1)
    registry.record(replace(conversion(), edges=[EdgeRecord("output", made)]))
    assert registry.list()[0].size_bytes == 2**63 - 1


def test_a_time_without_a_zone_is_refused() -> None:
    naive = datetime(2026, 11, 24)
    with pytest.raises(RefusedRecord, match="zone"):
        RunRecord(uid("x"), "convert", "succeeded", naive)
    with pytest.raises(RefusedRecord, match="zone"):
        RunRecord(uid("x"), "convert", "succeeded", START, naive)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "tree1:" + "A" * 64,
        "tree1:" + "a" * 63,
        "md5:" + "a" * 64,
        "a" * 64,
        "tree1:" + "a" * 65,
    ],
)
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(RefusedRecord):
        ArtifactRecord(digest, "file", 1)


@pytest.mark.parametrize("text", ["", "019a8f3e", "019a8f3e-0b1c-4d2e-8f3a-123456789abc", "x" * 36])
def test_what_is_no_version_7_uuid_is_no_run_id(text: str) -> None:
    with pytest.raises(RefusedRecord):
        RunRecord(text, "convert", "succeeded", START)


def test_a_word_that_is_none_of_the_choices_is_refused() -> None:
    with pytest.raises(RefusedRecord, match="one of PASSED"):
        CheckRecord(folder().digest, "kl", "passed")  # type: ignore[arg-type]
    with pytest.raises(RefusedRecord, match="one of fetch"):
        replace(conversion(), kind="bake")  # type: ignore[arg-type]


def test_a_check_of_something_else_is_refused() -> None:
    with pytest.raises(RefusedRecord, match="none of its artifacts"):
        replace(conversion(), checks=[CheckRecord(f"sha256:{sha256('x')}", "kl", "PASSED")])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_is_refused_or_the_same_after_the_text_that_is_stored(value: Json) -> None:
    import json

    from llorch.registry.database.schema import dumps

    try:
        folder(facts={"value": value})
    except RefusedRecord:
        return
    assert repr(sorted_keys(json.loads(dumps(value)))) == repr(sorted_keys(value))


def sorted_keys(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value
