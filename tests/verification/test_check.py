"""A check judges what its function measured; nothing measured is never a pass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.errors import MalformedInput
from llorch.verification.check import CannotCheck, Check, Measurement, check, count, worst
from llorch.verification.report import Result, Status
from llorch.verification.subject import QUICK_BYTES, Subject


def declared(value: float, at_most: float = 1.0, fault_above: float = -math.inf) -> Check[Subject]:
    @check("example", at_most=at_most, fault_above=fault_above, unit="things", because="it is one")
    def example(_: Subject) -> Measurement:
        return Measurement(value, "here", "all")

    return example


def result(example: Check[Subject]) -> Result:
    return example(cast(Subject, None))


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0, "PASSED"),
        (1, "PASSED"),
        (1.0000001, "FAILED"),
        (math.inf, "FAILED"),
        (math.nan, "FAILED"),
        (-1, "PASSED"),
    ],
)
def test_a_value_up_to_the_limit_passes_and_nan_is_within_none(value: float, status: str) -> None:
    assert result(declared(value)).status == status


@pytest.mark.parametrize(
    ("value", "status"), [(1, "PASSED"), (2, "WARNED"), (3, "WARNED"), (4, "FAILED"), (math.nan, "FAILED")]
)
def test_between_the_two_limits_is_a_warning(value: float, status: str) -> None:
    assert result(declared(value, fault_above=3)).status == status


@given(st.floats(), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_nothing_above_both_limits_passes_and_nan_never(
    value: float, at_most: float, fault_above: float
) -> None:
    status = result(declared(value, at_most, fault_above)).status
    assert (status == Status.FAILED) == (not value <= at_most and not value <= fault_above)


def test_a_check_that_lacks_something_is_skipped_with_the_reason() -> None:
    @check("example", at_most=1, unit="things", because="it is one")
    def example(_: Subject) -> Measurement:
        raise CannotCheck("there is no source")

    found = result(example)
    assert (found.status, found.value, found.detail) == (Status.SKIPPED, None, "there is no source")


@pytest.mark.parametrize(
    "error", [MalformedInput("is cut short"), KeyError("x"), RuntimeError("shapes"), MemoryError()]
)
def test_a_check_that_falls_over_is_an_error_and_measured_nothing(error: Exception) -> None:
    @check("example", at_most=1, unit="things", because="it is one")
    def example(_: Subject) -> Measurement:
        raise error

    found = result(example)
    assert (found.status, found.value) == (Status.ERROR, None)
    assert str(error) in found.detail


def test_the_worst_of_nothing_is_nan() -> None:
    assert math.isnan(worst([]).value)


@given(st.lists(st.floats(allow_nan=False, min_value=0), min_size=1))
def test_the_worst_is_the_largest_and_where_it_is(values: list[float]) -> None:
    found = worst((value, str(index)) for index, value in enumerate(values))
    assert found.value == max(values)
    if found.value > 0:
        assert values[int(found.where)] == found.value


def test_a_nan_among_others_is_the_worst() -> None:
    found = worst([(1.0, "a"), (math.nan, "b"), (2.0, "c")])
    assert math.isnan(found.value)
    assert found.where == "b"


def test_differences_are_counted_and_the_first_is_named() -> None:
    assert count(["a", "b", "c"], "4 things", compared=4) == Measurement(3, "a and 2 more", "4 things")
    assert count(["a"], "4 things", compared=4) == Measurement(1, "a", "4 things")
    assert count([], "4 things", compared=4) == Measurement(0, "", "4 things")


def test_no_difference_among_nothing_is_no_pass() -> None:
    assert math.isnan(count([], "no things", compared=0).value)


def test_quick_reads_within_its_bound_and_full_reads_everything() -> None:
    sizes = [(f"tensor {n}", QUICK_BYTES // 10) for n in range(40)]
    quick = Subject(Path(), None, level="quick", device="cpu").affordable(sizes)
    assert len(quick) == 10
    assert quick == Subject(Path(), None, level="quick", device="cpu").affordable(reversed(sizes))
    assert Subject(Path(), None, level="full", device="cpu").affordable(sizes) == {name for name, _ in sizes}


def test_quick_leaves_out_what_is_too_large_and_takes_the_rest() -> None:
    sizes = [("huge", 2 * QUICK_BYTES), ("small", 1)]
    assert Subject(Path(), None, level="quick", device="cpu").affordable(sizes) == {"small"}
