"""The shard of a plan for this process: from an option, or from a scheduler's environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llorch.fleet.plan import Task

SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `count`, counted from 1. said_by: the option or variable it is from, for a message."""

    number: int
    count: int
    said_by: str


@dataclass(frozen=True, slots=True)
class _Variables:
    """A scheduler's environment variables. first: the lowest index, 0 if absent. step: between indices, else 1."""

    index: str
    count: str
    first: str = ""
    step: str = ""


# Sources: sbatch(1), "Job array"; Kubernetes, "Indexed Job", which sets only the index, so that the count has to be set
# in the job's own `env`; SkyPilot, "Distributed multi-node jobs".
STARTERS: Sequence[_Variables] = (
    _Variables(
        "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"
    ),
    _Variables("JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"),
    _Variables("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"),
)


def parse_shard(text: str) -> Shard:
    """Parse `K/N`, K from 1 to N. Raises ValueError.

    >>> parse_shard("2/4")
    Shard(number=2, count=4, said_by='--shard')
    """
    found = SHARD.fullmatch(text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"{text!r} is no shard; write K/N with K from 1 to N, as 1/4 for the first of four")
    return Shard(int(found[1]), int(found[2]), "--shard")


def shard_from_environment(environment: Mapping[str, str]) -> Shard | None:
    """Return the shard given by an array job's or a node's environment variables; None if there are none.

    Indices count from the array's first: Slurm's `--array=5-8` has the shards 1 to 4. Raises ValueError for an index
    without a count, or outside of it.
    """
    for variables in STARTERS:
        if not environment.get(variables.index):
            continue
        index = _whole(environment, variables.index)
        if not environment.get(variables.count):
            raise ValueError(
                f"{variables.index} is set and {variables.count} is not: set it, or say --shard K/N"
            )
        count = _whole(environment, variables.count)
        first = _whole(environment, variables.first) if environment.get(variables.first) else 0
        step = _whole(environment, variables.step) if environment.get(variables.step) else 1
        place, odd = divmod(index - first, max(1, step))
        if odd or not 0 <= place < count:
            raise ValueError(
                f"{variables.index} is {index}, which is none of {count} counted from {first}: an array with gaps has"
                " no shards; say --shard K/N"
            )
        return Shard(place + 1, count, variables.index)
    return None


def _whole(environment: Mapping[str, str], name: str) -> int:
    text = environment[name].strip()
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, no whole number")
    return int(text)


def tasks_of_shard(tasks: Sequence[Task], shard: Shard) -> list[Task]:
    """Return the tasks of one shard. Every task is in exactly one shard, and the shards' seconds are balanced greedily.

    Tasks are assigned from the longest on, each to the shard with the least to do: at most 4/3 of the optimum (Graham,
    1969). The result depends only on the tasks, so all processes agree.
    """
    loads = [0.0] * shard.count
    mine = []
    for task in sorted(tasks, key=lambda task: (-task.needs.seconds, task.key)):
        least = min(range(shard.count), key=loads.__getitem__)
        loads[least] += task.needs.seconds
        if least == shard.number - 1:
            mine.append(task)
    return mine
