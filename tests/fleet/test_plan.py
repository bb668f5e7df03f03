"""A plan is read as it was written, and an invalid one is refused with its line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.fleet import Plan, key_of, plan_bytes, read_plan
from tests.fleet.tasks import task_named

PLAN = Plan(
    {"dtype": "auto"},
    {"llorch": "1"},
    "quick",
    (task_named("a"), task_named("é 模型", refused="no such type")),
)
JSON = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.booleans() | st.integers(), max_size=3)


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    file.write_bytes(plan_bytes(PLAN))
    assert read_plan(file) == PLAN
    assert len(file.read_text().splitlines()) == 3


@given(
    identity=st.text(max_size=9),
    other=st.text(max_size=9),
    options=JSON,
    tools=st.dictionaries(st.text(), st.text()),
)
def test_a_key_is_another_where_anything_is_another(
    identity: str, other: str, options: dict[str, object], tools: dict[str, str]
) -> None:
    key = key_of(identity, options, tools)
    assert key == key_of(identity, dict(reversed(options.items())), dict(reversed(tools.items())))
    assert (key_of(other, options, tools) == key) == (identity == other)
    assert key_of(identity, {**options, "one more": 1}, tools) != key
    assert key_of(identity, options, {**tools, "one more": "1"}) != key


def lines(*changed: tuple[int, str, object]) -> str:
    rows = [json.loads(line) for line in plan_bytes(PLAN).splitlines()]
    for line, key, value in changed:
        rows[line - 1][key] = value
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "its first line has no schema"),
        ("[]\n", "line 1: is no JSON object"),
        ("{", "line 1: is no JSON"),
        (lines((1, "schema", "llorch.batch-plan/v9")), "its first line has no schema"),
        (lines((2, "key", "../../x")), "line 2: is no task"),
        (lines((2, "output", "../x")), "line 2: '../x' is no name of a folder"),
        (lines((2, "output", ".batch")), "is no name of a folder"),
        (lines((2, "output", "")), "is no name of a folder"),
        (lines((3, "output", "a")), "line 3: has the output of an earlier line"),
        (lines((2, "source_bytes", -1)), "line 2: is no task: a size or time is no number"),
        (lines((2, "source_bytes", True)), "a size or time is no number"),
        (lines((2, "needs", {"disk_bytes": 1})), "line 2: is no task"),
        (lines((2, "more", 1)), "line 2: is no task"),
        (lines((2, "refused", 3)), "refused is text"),
    ],
)
def test_what_is_no_plan_is_refused_by_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "plan.jsonl"
    file.write_text(content)
    with pytest.raises((MalformedInput, UnsupportedInput), match=r"plan\.jsonl") as error:
        read_plan(file)
    assert said in str(error.value)


def test_bytes_that_are_no_text_are_no_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedInput, match="is not UTF-8"):
        read_plan(file)


def test_equal_plans_are_equal_bytes() -> None:
    assert plan_bytes(PLAN) == plan_bytes(replace(PLAN, tasks=tuple(PLAN.tasks)))
