"""A shard has the same tasks on every machine, and all shards together are the plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.fleet import Shard, parse_shard, shard_from_environment, tasks_of_shard
from tests.fleet.tasks import task_named


@given(seconds=st.lists(st.floats(0, 1e6), max_size=40), count=st.integers(1, 7), shuffled=st.randoms())
def test_every_task_is_in_one_shard_in_whatever_order_the_plan_is_read(
    seconds: list[float], count: int, shuffled: object
) -> None:
    tasks = [task_named(f"t{number}", seconds=takes) for number, takes in enumerate(seconds)]
    other = sorted(tasks, key=lambda task: task.key)
    shards = [tasks_of_shard(tasks, Shard(number, count, "")) for number in range(1, count + 1)]
    assert sorted(task.key for shard in shards for task in shard) == sorted(task.key for task in tasks)
    assert shards == [tasks_of_shard(other, Shard(number, count, "")) for number in range(1, count + 1)]


@given(seconds=st.lists(st.floats(0.1, 1e4), min_size=1, max_size=40), count=st.integers(1, 7))
def test_no_shard_has_more_than_grahams_bound(seconds: list[float], count: int) -> None:
    tasks = [task_named(f"t{number}", seconds=takes) for number, takes in enumerate(seconds)]
    loads = [
        sum(task.needs.seconds for task in tasks_of_shard(tasks, Shard(number, count, "")))
        for number in range(1, count + 1)
    ]
    longest_first = sorted(seconds, reverse=True)
    pair = longest_first[count - 1] + longest_first[count] if len(seconds) > count else 0.0
    best_at_least = max(sum(seconds) / count, longest_first[0], pair)
    assert max(loads) <= best_at_least * 4 / 3 * (1 + 1e-9)


@pytest.mark.parametrize(("text", "number", "count"), [("1/4", 1, 4), ("4/4", 4, 4), (" 2/10 ", 2, 10)])
def test_a_shard_is_counted_from_one(text: str, number: int, count: int) -> None:
    assert parse_shard(text) == Shard(number, count, "--shard")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "a/b", "-1/4", "1/4/2", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no shard"):
        parse_shard(text)


# What each starter sets, by its own documentation, for the second of four.
SECOND_OF_FOUR = {
    "slurm --array=0-3": {"ID": "1", "COUNT": "4", "MIN": "0", "STEP": "1"},
    "slurm --array=1-4": {"ID": "2", "COUNT": "4", "MIN": "1", "STEP": "1"},
    "slurm --array=5-8": {"ID": "6", "COUNT": "4", "MIN": "5", "STEP": "1"},
    "slurm --array=0-6:2": {"ID": "2", "COUNT": "4", "MIN": "0", "STEP": "2"},
}


@pytest.mark.parametrize("variables", SECOND_OF_FOUR.values(), ids=SECOND_OF_FOUR.keys())
def test_a_slurm_arrays_first_index_is_the_first_shard(variables: dict[str, str]) -> None:
    environment = {f"SLURM_ARRAY_TASK_{name}": value for name, value in variables.items()}
    assert shard_from_environment(environment) == Shard(2, 4, "SLURM_ARRAY_TASK_ID")


def test_kubernetes_and_skypilot_count_from_zero() -> None:
    kubernetes = {"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETION_COUNT": "3"}
    assert shard_from_environment(kubernetes) == Shard(1, 3, "JOB_COMPLETION_INDEX")
    sky = {"SKYPILOT_NODE_RANK": "2", "SKYPILOT_NUM_NODES": "3"}
    assert shard_from_environment(sky) == Shard(3, 3, "SKYPILOT_NODE_RANK")
    assert shard_from_environment({"HOME": "/root"}) is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"JOB_COMPLETION_INDEX": "0"}, "JOB_COMPLETION_COUNT is not"),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETION_COUNT": "3"}, "none of 3"),
        ({"JOB_COMPLETION_INDEX": "x", "JOB_COMPLETION_COUNT": "3"}, "no whole number"),
        (
            {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"},
            "an array with gaps",
        ),
    ],
)
def test_an_environment_that_says_no_shard_is_refused_by_name(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        shard_from_environment(environment)
