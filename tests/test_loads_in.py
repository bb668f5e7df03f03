"""docs/loads-in.md is made of the receipts, and says why wherever a reader does not say our text."""

from __future__ import annotations

import json

import pytest

from benchmarks.there_and_back import CAME_BACK
from benchmarks.there_and_back import RECEIPTS as WAYS_BACK
from tools.loads_in import (
    NO_CLASS,
    OTHER,
    PAGE,
    RECEIPTS,
    REFUSED,
    SAME,
    UNKNOWN,
    WHY,
    page,
    same_text,
)


def test_the_page_is_what_the_receipts_say() -> None:
    receipts, back = (json.loads(path.read_text()) for path in (RECEIPTS, WAYS_BACK))
    assert PAGE.read_text() == page(receipts, back), "python -m tools.loads_in"


def test_every_family_that_a_reader_was_asked_for_came_back() -> None:
    back = json.loads(WAYS_BACK.read_text())
    asked = {name for rows in json.loads(RECEIPTS.read_text()).values() for name in rows}
    assert asked - {"gptoss-mxfp4"} <= back.keys()  # whose folder is packed: tests/converter/test_mxfp4.py
    assert {row["result"].partition(" (")[0] for row in back.values()} == {CAME_BACK}


def test_every_other_text_and_every_refusal_is_explained_and_nothing_else() -> None:
    receipts = json.loads(RECEIPTS.read_text())
    results = {
        (reader, name): row["result"] for reader, rows in receipts.items() for name, row in rows.items()
    }
    assert set(results.values()) <= {SAME, OTHER, REFUSED, UNKNOWN}
    assert {key for key, result in results.items() if result in (OTHER, REFUSED)} == WHY.keys()


def test_a_family_that_was_not_run_with_a_reader_is_told_so() -> None:
    same = {"result": SAME, "day": "2026-01-01", "version": "1"}
    found = page({"one": {"llama": same, "phi2": same}, "two": {"llama": same}}, {})
    assert "| phi2 | same text | not run |" in found


@pytest.mark.parametrize(
    "said",
    [
        "ValueError: Unsupported Hugging Face Transformers -CausalLM model class `ArceeForCausalLM`.",
        "ValueError: Model type arcee not supported.",
        "type `arcee` but Transformers does not recognize this architecture.",
    ],
)
def test_that_a_reader_has_no_class_is_known_from_its_words(said: str) -> None:
    assert NO_CLASS.search(said)


def test_only_marks_of_half_characters_and_a_leading_blank_may_differ() -> None:
    assert same_text(" a\ufffdb", "ab\ufffd")
    assert not same_text("ab", "a b")
