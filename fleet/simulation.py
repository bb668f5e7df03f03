"""Event simulation of a plan on given machines: how long it takes, and the disk and memory it uses."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from llorch.fleet.plan import Task


@dataclass(frozen=True, slots=True)
class Cluster:
    """Machines of the same size. workers: most tasks that each runs at once, if its memory and disk suffice."""

    nodes: int
    workers: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """The result of a simulation.

    makespan_s: until the last task ended. most_done_s: until 95 % had ended; the difference is the tail of stragglers.
    busy: the share of the workers' time that was used. disk_bytes, memory_bytes: peak on any node. left: outputs of the
    tasks that fit no node.
    """

    makespan_s: float
    most_done_s: float
    busy: float
    disk_bytes: int
    memory_bytes: int
    left: Sequence[str]


@dataclass(slots=True)
class _Load:
    """What is in use on a node, and its peak."""

    workers: int = 0
    disk: int = 0
    memory: int = 0
    most_disk: int = 0
    most_memory: int = 0

    def fits(self, task: Task, cluster: Cluster) -> bool:
        return (
            self.workers < cluster.workers
            and self.disk + task.needs.disk_bytes <= cluster.disk_bytes
            and self.memory + task.needs.memory_bytes <= cluster.memory_bytes
        )

    def add(self, task: Task, sign: int) -> None:
        self.workers += sign
        self.disk += sign * task.needs.disk_bytes
        self.memory += sign * task.needs.memory_bytes
        self.most_disk, self.most_memory = max(self.most_disk, self.disk), max(self.most_memory, self.memory)


def simulate(
    tasks: Sequence[Task], cluster: Cluster, seconds: Sequence[float] | None = None
) -> SimulationResult:
    """Simulate the drivers' rule: a node with room takes the longest task that fits.

    seconds: the actual time of each task, by default the plan's estimate. Refused tasks take no time.

    >>> from llorch.fleet.plan import Needs
    >>> needs = Needs(disk_bytes=1, memory_bytes=1, seconds=2.0)
    >>> tasks = [Task(str(n), "", "", str(n), 0, 0, needs) for n in range(4)]
    >>> simulate(tasks, Cluster(nodes=1, workers=2, memory_bytes=9, disk_bytes=9)).makespan_s
    4.0
    """
    takes = {task.key: task.needs.seconds if seconds is None else seconds[n] for n, task in enumerate(tasks)}
    nodes = [_Load() for _ in range(cluster.nodes)]
    waiting = sorted(
        (one for one in tasks if one.refused is None), key=lambda one: (-one.needs.seconds, one.key)
    )
    left = [one.output for one in waiting if not _Load().fits(one, cluster)]
    waiting = [one for one in waiting if _Load().fits(one, cluster)]
    events: list[tuple[float, str, int, Task]] = []
    ends: list[float] = []
    now = worked = 0.0
    free = list(range(cluster.nodes))
    while waiting or events:
        for node in free:
            for task in _take(nodes[node], waiting, cluster):
                worked += takes[task.key]
                heapq.heappush(events, (now + takes[task.key], task.key, node, task))
        now, _, node, task = heapq.heappop(events)
        nodes[node].add(task, -1)
        ends.append(now)
        free = [node]
    most = ends[max(0, -(-len(ends) * 95 // 100) - 1)] if ends else 0.0
    capacity = now * cluster.nodes * cluster.workers
    return SimulationResult(
        makespan_s=now,
        most_done_s=most,
        busy=worked / capacity if capacity else 0.0,
        disk_bytes=max(one.most_disk for one in nodes),
        memory_bytes=max(one.most_memory for one in nodes),
        left=left,
    )


def _take(node: _Load, waiting: list[Task], cluster: Cluster) -> list[Task]:
    """Move the tasks that a node can take now from `waiting` to the node; return them."""
    taken: list[Task] = []
    place = 0
    while place < len(waiting) and node.workers < cluster.workers:
        if node.fits(waiting[place], cluster):
            task = waiting.pop(place)
            node.add(task, 1)
            taken.append(task)
        else:
            place += 1
    return taken
