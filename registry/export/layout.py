"""Layout of a graph: the positions of its boxes, and the paths of its edges.

A layered layout after Sugiyama, Tagawa and Toda (1981): a node is in the column after the last of its predecessors; an
edge over several columns has a lane in each column that it passes, so that it crosses no box; nodes within a column
are ordered by the mean position of their neighbours, and the order with the fewest crossings is kept; vertical
positions are as close to those of the neighbours as the order allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

GAP_X, GAP_Y = 60.0, 24.0  # pixels between columns, and between the boxes of a column
LANE = 6.0  # pixels of height of an edge's lane in a column
SWEEPS = 8  # passes over all columns, alternately forward and backward

Size = tuple[float, float]  # width, height
Box = tuple[float, float, float, float]  # left, top, width, height
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge between two nodes. turned: reversed to break a cycle, so its arrowhead is at its start."""

    start: str
    end: str
    dashed: bool = False
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """The finished layout. ways: each edge's points; it is curved from the first to the second, level to the third…"""

    boxes: Mapping[str, Box]
    ways: Sequence[tuple[Edge, Sequence[Point]]]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Lane:
    """An edge's position in a column that it passes."""

    edge: Edge
    column: int


Slot = str | Lane  # a node or a lane in a column


def lay_out(sizes: Mapping[str, Size], edges: Iterable[Edge]) -> Picture:
    """Return the layout of a graph with nodes of these sizes; deterministic."""
    edges = without_rings(list(sizes), edges)
    column_of = columns_of(list(sizes), edges)
    ways: dict[Edge, list[Slot]] = {
        edge: [
            edge.start,
            *(Lane(edge, at) for at in range(column_of[edge.start] + 1, column_of[edge.end])),
            edge.end,
        ]
        for edge in edges
    }
    columns: list[list[Slot]] = [[] for _ in range(max(column_of.values(), default=0) + 1)]
    for key in sizes:
        columns[column_of[key]].append(key)
    for way in ways.values():
        for slot in way[1:-1]:
            assert isinstance(slot, Lane)
            columns[slot.column].append(slot)
    links = [link for way in ways.values() for link in pairwise(way)]
    columns = order_columns(columns, links)
    heights = {
        slot: LANE if isinstance(slot, Lane) else sizes[slot][1] for column in columns for slot in column
    }
    tops = levels(columns, links, heights)
    lefts, widths, left = [], [], GAP_Y
    for column in columns:
        lefts.append(left)
        widths.append(max(sizes[slot][0] for slot in column if isinstance(slot, str)))
        left += widths[-1] + GAP_X
    at = {slot: place for place, column in enumerate(columns) for slot in column}
    boxes = {key: (lefts[at[key]], tops[key], widths[at[key]], heights[key]) for key in sizes}

    def points(way: Sequence[Slot]) -> list[Point]:
        found = []
        for slot in way:
            middle = tops[slot] + heights[slot] / 2
            if slot is not way[0]:
                found.append((lefts[at[slot]], middle))
            if slot is not way[-1]:
                found.append((lefts[at[slot]] + widths[at[slot]], middle))
        return found

    bottom = max(tops[slot] + heights[slot] for slot in tops)
    return Picture(
        boxes, [(edge, points(way)) for edge, way in ways.items()], left - GAP_X + GAP_Y, bottom + GAP_Y
    )


def without_rings(nodes: Sequence[str], edges: Iterable[Edge]) -> list[Edge]:
    """Return the edges, with those that close a cycle reversed; an edge from a node to itself is left out."""
    after: dict[str, set[str]] = {node: set() for node in nodes}
    found = []

    def leads_to(start: str, end: str) -> bool:
        met, left = {start}, [start]
        while left:
            new = after[left.pop()] - met
            met |= new
            left += new
        return end in met

    for edge in edges:
        if edge.start == edge.end:
            continue
        turned = leads_to(edge.end, edge.start)
        found.append(replace(edge, start=edge.end, end=edge.start, turned=True) if turned else edge)
        after[found[-1].start].add(found[-1].end)
    return found


def columns_of(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return each node's column: after all its predecessors; a node without any is right before its successors."""
    column = dict.fromkeys(nodes, 0)
    changed = True
    while changed:  # terminates, since there are no cycles
        changed = False
        for edge in edges:
            if column[edge.end] <= column[edge.start]:
                column[edge.end], changed = column[edge.start] + 1, True
    for node in nodes:
        ends = [column[edge.end] for edge in edges if edge.start == node]
        if ends and not any(edge.end == node for edge in edges):
            column[node] = min(ends) - 1
    used = {number: place for place, number in enumerate(sorted(set(column.values())))}
    return {node: used[number] for node, number in column.items()}


def order_columns(columns: Sequence[Sequence[Slot]], links: Sequence[tuple[Slot, Slot]]) -> list[list[Slot]]:
    """Order the nodes of each column for few crossings, by sweeps; return the best order found."""
    best = now = [list(column) for column in columns]
    fewest = crossings(best, links)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        back = sweep % 2 == 1
        now = [list(column) for column in now]
        for number in range(len(now) - 2, -1, -1) if back else range(1, len(now)):
            beside = {slot: place for place, slot in enumerate(now[number + 1 if back else number - 1])}
            near = neighbours(now[number], links, beside)
            means = {
                slot: sum(beside[one] for one in near[slot]) / len(near[slot]) if near[slot] else float(place)
                for place, slot in enumerate(now[number])
            }
            now[number].sort(key=means.__getitem__)
        found = crossings(now, links)
        if found < fewest:
            best, fewest = now, found
    return best


def neighbours(
    column: Sequence[Slot], links: Iterable[tuple[Slot, Slot]], among: Iterable[Slot]
) -> dict[Slot, list[Slot]]:
    """Return, for each slot of a column, the slots of `among` that it is linked with."""
    near: dict[Slot, list[Slot]] = {slot: [] for slot in column}
    others = set(among)
    for pair in links:
        for slot, other in (pair, pair[::-1]):
            if slot in near and other in others:
                near[slot].append(other)
    return near


def crossings(columns: Sequence[Sequence[Slot]], links: Sequence[tuple[Slot, Slot]]) -> int:
    """Return the number of pairs of links that cross."""
    place = {slot: (number, row) for number, column in enumerate(columns) for row, slot in enumerate(column)}
    gaps: dict[int, list[tuple[int, int]]] = {}
    for start, end in links:
        gaps.setdefault(place[start][0], []).append((place[start][1], place[end][1]))
    return sum(
        (one[0] - other[0]) * (one[1] - other[1]) < 0
        for gap in gaps.values()
        for number, one in enumerate(gap)
        for other in gap[:number]
    )


def levels(
    columns: Sequence[Sequence[Slot]], links: Sequence[tuple[Slot, Slot]], heights: Mapping[Slot, float]
) -> dict[Slot, float]:
    """Return the top of each slot: in the column's order, without overlap, close to the middle of its neighbours."""
    tops: dict[Slot, float] = {}
    for column in columns:
        below = 0.0
        for slot in column:
            tops[slot] = below
            below += heights[slot] + GAP_Y
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            near = neighbours(column, links, tops)
            wanted = []
            for slot in column:
                middles = [tops[one] + heights[one] / 2 for one in near[slot]] or [
                    tops[slot] + heights[slot] / 2
                ]
                wanted.append(sum(middles) / len(middles) - heights[slot] / 2)
            tops |= zip(column, spread(wanted, [heights[slot] + GAP_Y for slot in column]), strict=True)
    highest = min(tops.values())
    return {slot: top - highest + GAP_Y for slot, top in tops.items()}


def spread(wanted: Sequence[float], steps: Sequence[float]) -> list[float]:
    """Return the positions closest to `wanted` by least squares, each at least the previous one's step after it.

    steps: minimal distance from each position to the next. This is isotonic regression of `wanted` minus the sum of the
    previous steps, by pooling adjacent violators.
    """
    before = [sum(steps[:place]) for place in range(len(steps))]
    pools: list[tuple[float, int]] = []  # mean, members
    for want, offset in zip(wanted, before, strict=True):
        mean, members = want - offset, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, members = (mean * members + other * count) / (members + count), members + count
        pools.append((mean, members))
    means = [mean for mean, members in pools for _ in range(members)]
    return [mean + offset for mean, offset in zip(means, before, strict=True)]
