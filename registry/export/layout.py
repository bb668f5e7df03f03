"""Where the boxes of a graph stand, and which way its edges go between them.

By layers, after Sugiyama, Tagawa and Toda (1981): a box stands in the column after the last of those that lead to it;
an edge over several columns has a lane in each that it passes, so that it crosses no box; the order within a column is
by the mean place of the neighbours, and the one with the fewest crossings is kept; heights are as near to those of the
neighbours as the order allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

GAP_X, GAP_Y = 60.0, 24.0  # pixels between columns, and between the boxes of one
LANE = 6.0  # pixels of height that an edge has where it passes a column
SWEEPS = 8  # over all columns, there and back by turns

Size = tuple[float, float]  # width, height
Box = tuple[float, float, float, float]  # left, top, width, height
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Edge:
    """From one node to another. turned: it goes to the left, which only a ring has, and is drawn from its end."""

    start: str
    end: str
    dashed: bool = False
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Where everything is. ways: each edge's points: it bends from the first to the second, is level to the third, …"""

    boxes: Mapping[str, Box]
    ways: Sequence[tuple[Edge, Sequence[Point]]]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Lane:
    """Where an edge passes a column."""

    edge: Edge
    column: int


Slot = str | Lane  # what has a place in a column


def laid_out(sizes: Mapping[str, Size], edges: Iterable[Edge]) -> Picture:
    """The picture of a graph whose nodes have these sizes; the same for the same graph."""
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
    """The edges, those turned that close a ring; an edge from a node to itself is left out."""
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
    """The column of each node: after all that lead to it; what nothing leads to, right before what it leads to."""
    column = dict.fromkeys(nodes, 0)
    changed = True
    while changed:  # ends, for there is no ring
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
    """The columns, each in the order in which fewest links cross, as far as sweeps find it."""
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
    """Of each slot of a column, those that it is linked with among some."""
    near: dict[Slot, list[Slot]] = {slot: [] for slot in column}
    others = set(among)
    for pair in links:
        for slot, other in (pair, pair[::-1]):
            if slot in near and other in others:
                near[slot].append(other)
    return near


def crossings(columns: Sequence[Sequence[Slot]], links: Sequence[tuple[Slot, Slot]]) -> int:
    """How many pairs of links cross."""
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
    """The top of each slot: in the column's order, without overlap, near to the middle of its neighbours."""
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
    """Places nearest to those wanted, by the sum of squares, each at least its step after the one before it.

    By pooling neighbours that would overlap: what each wants, less the steps before it, must not fall.
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
