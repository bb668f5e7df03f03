"""A simulated plan takes as long as calculated by hand, and uses no more than a machine has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llorch.fleet import Cluster, simulate
from tests.fleet.tasks import task_named


def test_a_hand_count() -> None:
    """Two workers; 5, 3, 2, 2 seconds: 5 on the one, 3 + 2 on the other, then 2 beside nothing: 7 s, 12 of 14 busy."""
    tasks = [task_named(str(n), seconds=takes, disk=10) for n, takes in enumerate([2.0, 5.0, 3.0, 2.0])]
    found = simulate(tasks, Cluster(nodes=1, workers=2, memory_bytes=100, disk_bytes=100))
    assert found.makespan_s == 7.0
    assert found.busy == 12 / 14
    assert (found.disk_bytes, found.memory_bytes) == (20, 2)


def test_disk_keeps_tasks_waiting_and_what_fits_no_node_is_left() -> None:
    tasks = [task_named(str(n), seconds=1.0, disk=60) for n in range(3)] + [task_named("huge", disk=101)]
    found = simulate(tasks, Cluster(nodes=1, workers=3, memory_bytes=100, disk_bytes=100))
    assert found.makespan_s == 3.0
    assert found.disk_bytes == 60
    assert found.left == ["huge"]


def test_a_straggler_is_what_the_last_tasks_take() -> None:
    tasks = [task_named(f"{n:03}", seconds=1.0) for n in range(100)]
    takes = [1.0] * 99 + [31.0]
    found = simulate(tasks, Cluster(nodes=10, workers=1, memory_bytes=9, disk_bytes=9), takes)
    assert found.most_done_s <= 11.0
    assert 31.0 <= found.makespan_s <= 41.0


@given(
    sizes=st.lists(
        st.tuples(st.floats(0.1, 100), st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=30
    ),
    nodes=st.integers(1, 4),
    workers=st.integers(1, 4),
)
def test_no_simulation_beats_the_bounds_or_oversubscribes(
    sizes: list[tuple[float, int, int]], nodes: int, workers: int
) -> None:
    tasks = [task_named(str(n), seconds=s, disk=d, memory=m) for n, (s, d, m) in enumerate(sizes)]
    found = simulate(tasks, Cluster(nodes, workers, memory_bytes=60, disk_bytes=60))
    total = sum(seconds for seconds, _, _ in sizes)
    assert found.left == []
    assert max(total / (nodes * workers), max(sizes)[0]) <= found.makespan_s * (1 + 1e-9)
    assert found.makespan_s <= total * (1 + 1e-9)
    assert found.disk_bytes <= 60
    assert found.memory_bytes <= 60
    assert 0 < found.busy <= 1 + 1e-9
