"""A report: its outcome follows from its results, and it survives JSON."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from llorch.verification.report import Report, Result, Status


def report(*statuses: Status, value: float | None = 1.0) -> Report:
    results = [
        Result(f"check {n}", status, value, 2.0, "things", "it is one", "here", "all", 0.25)
        for n, status in enumerate(statuses)
    ]
    times = "2026-11-24T00:00:00Z", "2026-11-24T00:00:09Z"
    return Report("folder", "model.gguf", "quick", "cpu", *times, {"llorch": "1"}, results)


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ([], "INCOMPLETE"),
        ([Status.PASSED], "PASSED"),
        ([Status.PASSED, Status.WARNED], "PASSED"),
        ([Status.PASSED, Status.SKIPPED], "INCOMPLETE"),
        ([Status.SKIPPED], "INCOMPLETE"),
        ([Status.PASSED, Status.FAILED], "FAILED"),
        ([Status.PASSED, Status.ERROR], "FAILED"),
        ([Status.SKIPPED, Status.FAILED], "FAILED"),
    ],
)
def test_the_outcome_is_that_of_the_worst_check(statuses: list[Status], outcome: str) -> None:
    assert report(*statuses).outcome == outcome


def test_nothing_passes_beside_a_failure_or_an_error() -> None:
    for statuses in itertools.product(Status, repeat=3):
        failed = Status.FAILED in statuses or Status.ERROR in statuses
        assert (report(*statuses).outcome == "FAILED") == failed
        assert (report(*statuses).outcome == "PASSED") == set(statuses).issubset(
            {Status.PASSED, Status.WARNED}
        )


def test_a_report_comes_back_from_its_json() -> None:
    made = report(Status.PASSED, Status.FAILED, Status.SKIPPED)
    assert Report.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_json_number_is_null_and_told_in_words(value: float) -> None:
    row = report(Status.FAILED, value=value).results[0].to_json()
    assert row["value"] is None
    assert str(value) in str(row["detail"])
    json.dumps(row, allow_nan=False)


def test_the_sentence_counts_what_happened_and_names_what_failed() -> None:
    made = report(Status.PASSED, Status.PASSED, Status.SKIPPED, Status.FAILED, Status.ERROR)
    assert made.sentence == "2 passed, 1 failed, 1 skipped, 1 error in 1.2 s; failed: check 3, check 4"


def test_json_says_the_outcome_and_the_counts() -> None:
    document = report(Status.PASSED, Status.SKIPPED).to_json()
    assert document["outcome"] == "INCOMPLETE"
    assert document["counts"] == {"PASSED": 1, "SKIPPED": 1}
