"""Pictures of a lineage with a dozen runs: equal runs folded, no edge through a box, names in any script.

`python -m tests.registry.export.test_pictures` writes the kept ones anew.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.printable import width
from llorch.registry.export.drawing import LETTER, as_dot, as_svg, as_tree
from llorch.registry.export.layout import Edge, lay_out, spread
from llorch.registry.query.lineage import Arrow, ArtifactNode, Lineage, RunNode
from tests.registry.invented import START

HERE = Path(__file__).parent
SPACE = "{http://www.w3.org/2000/svg}"
HOUR = timedelta(hours=1)
SAMPLES = 60  # points of each bend that are looked at
Box = tuple[float, float, float, float]


def artifact(name: str, kind: str = "hf-folder", verified: str | None = None) -> ArtifactNode:
    digest = ("tree1:" if kind == "hf-folder" else "sha256:") + sha256(name.encode()).hexdigest()
    return ArtifactNode(
        digest, kind, "bfloat16" if kind == "hf-folder" else "Q4_1", 10, [f"{name}@latest"], name, verified
    )


def run(number: int, kind: str, verdict: str | None = None, tool: str = "0.1.0") -> RunNode:
    return RunNode(f"{number:08d}", kind, "succeeded", START + number * HOUR, tool, None, verdict)


def dozen() -> Lineage:
    """A file under a Chinese name, fetched; three folders of it, one made twice; checks, ten of them equal."""
    file = artifact("模型-七十亿参数-指令微调.gguf", "gguf")
    folders = [
        artifact("模型", verified="PASSED"), artifact("نموذج", verified="FAILED"), artifact("tiny", verified=None)
    ]  # fmt: skip
    fetch = RunNode("fetch", "fetch", "succeeded", START, "0.1.0", "owner/名前/tiny.gguf@" + "a" * 40)
    runs, arrows = [fetch], [Arrow("fetch", "output", file.digest, file.label)]
    for number, folder in enumerate([*folders, folders[0]], 1):
        runs.append(run(number, "convert"))
        arrows += [
            Arrow(runs[-1].uid, "input", file.digest, file.label),
            Arrow(runs[-1].uid, "output", folder.digest, folder.label),
        ]
    checks = [(folders[0], "PASSED")] * 10 + [(folders[1], "FAILED"), (folders[1], "PASSED")]
    for number, (folder, verdict) in enumerate(checks, 10):
        runs.append(run(number, "verify", verdict))
        arrows += [
            Arrow(runs[-1].uid, "input", folder.digest, folder.label),
            Arrow(runs[-1].uid, "reference", file.digest, file.label),
        ]
    return Lineage(file.digest, [file, *folders], runs, arrows)


KEPT = {"svg": as_svg, "dot": as_dot, "txt": as_tree}


@pytest.mark.parametrize("ending", KEPT)
def test_the_dozen_is_drawn_as_it_is_kept(ending: str) -> None:
    assert KEPT[ending](dozen()) == (HERE / f"dozen.{ending}").read_text(), (
        "`python -m tests.registry.export.test_pictures` writes it anew"
    )


def test_equal_runs_are_one_node_with_their_number_and_times() -> None:
    for text in (as_svg(dozen()), as_dot(dozen()), as_tree(dozen())):
        assert text.count("verify PASSED ×10") == 1
        assert text.count("convert ×2") == 1
        assert "2026-11-24 12:00 – 2026-11-24 21:00" in text
        assert "×12" not in text, "a check that failed is not equal to one that passed"


def test_runs_of_other_versions_or_of_other_names_in_the_tree_are_not_equal() -> None:
    file, folder = artifact("a", "gguf"), artifact("b")
    runs = [run(1, "convert"), run(2, "convert"), run(3, "convert", tool="0.2.0")]
    arrows = [
        Arrow(one.uid, role, digest, label)
        for one, label in zip(runs, ("first", "second", "first"), strict=True)
        for role, digest, label in (("input", file.digest, label), ("output", folder.digest, "b"))
    ]
    lineage = Lineage(folder.digest, [file, folder], runs, arrows)
    assert as_svg(lineage).count("convert ×2") == 1
    assert as_tree(lineage).count("by convert") == 3


@pytest.mark.parametrize("times", [1, 12])
def test_no_edge_of_the_picture_crosses_a_box_that_is_not_its_end(times: int) -> None:
    found = dozen()
    root = ET.fromstring(as_svg(Lineage(found.root, found.artifacts, found.runs[: 5 * times], [
        arrow for arrow in found.arrows if arrow.run in {one.uid for one in found.runs[: 5 * times]}
    ])))  # fmt: skip
    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in root.findall(SPACE + "rect")
    ]
    paths = root.findall(SPACE + "path")
    assert paths
    for path in paths:
        points = list(along(path.attrib["d"]))
        crossed = {box for box in boxes for point in points if inside(point, box)}  # type: ignore[arg-type]
        assert not crossed
        ends = [box for box in boxes for at in (points[0], points[-1]) if touches(at, box)]  # type: ignore[arg-type]
        assert len(ends) == 2


def along(path: str) -> Iterator[tuple[float, float]]:
    """Return points of a path of curves and lines."""
    x = y = 0.0
    for letter, numbers in re.findall(r"([MCL])([^MCL]*)", path):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        points = [(x, y), *zip(values[::2], values[1::2], strict=True)]
        if letter != "M":
            for step in range(SAMPLES + 1):
                yield bezier(points, step / SAMPLES)
        x, y = points[-1]


def bezier(points: list[tuple[float, float]], t: float) -> tuple[float, float]:
    """Return a point of the Bézier curve with these control points, by De Casteljau's algorithm."""
    while len(points) > 1:
        points = [(a[0] * (1 - t) + b[0] * t, a[1] * (1 - t) + b[1] * t) for a, b in pairwise(points)]
    return points[0]


def inside(point: tuple[float, float], box: Box) -> bool:
    (x, y), (left, top, wide, high) = point, box
    return left + 0.1 < x < left + wide - 0.1 and top + 0.1 < y < top + high - 0.1


def touches(point: tuple[float, float], box: Box) -> bool:
    (x, y), (left, top, wide, high) = point, box
    return min(abs(x - left), abs(x - left - wide)) < 0.2 and top <= y <= top + high


def test_every_line_fits_into_its_box_also_in_chinese_and_what_was_cut_is_in_the_title() -> None:
    long = artifact("模" * 100)
    root = ET.fromstring(as_svg(Lineage(long.digest, [long, *dozen().artifacts], [], [])))
    rects = root.findall(SPACE + "rect")
    boxes = [tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height")) for rect in rects]
    for text in root.findall(SPACE + "text"):
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        assert any(
            left < x and x + LETTER * width(text.text or "") <= left + wide and top < y < top + high
            for left, top, wide, high in boxes
        )
    titles = [title.text or "" for rect in rects for title in rect.findall(SPACE + "title")]
    assert len(titles) == 1
    assert "模" * 100 in titles[0]
    assert "CJK" in root.attrib["font-family"]
    assert "CJK" in as_dot(dozen())


GRAPHS = st.integers(1, 9).flatmap(
    lambda count: st.tuples(
        st.lists(st.tuples(st.floats(20, 300), st.floats(20, 120)), min_size=count, max_size=count),
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=20, unique=True),
    )
)


@given(GRAPHS)
def test_whatever_the_graph_boxes_are_apart_and_edges_cross_none(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    sizes, pairs = graph
    drawn = lay_out({str(n): size for n, size in enumerate(sizes)}, [Edge(str(a), str(b)) for a, b in pairs])
    boxes = list(drawn.boxes.values())
    for place, one in enumerate(boxes):
        assert 0 <= one[0] < one[0] + one[2] <= drawn.width
        assert 0 <= one[1] < one[1] + one[3] <= drawn.height + 0.1
        for other in boxes[place + 1 :]:
            apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
            assert apart or one[1] + one[3] <= other[1] + 0.01 or other[1] + other[3] <= one[1] + 0.01
    asked = sorted((str(a), str(b)) for a, b in pairs if a != b)
    assert asked == sorted(
        (edge.end, edge.start) if edge.turned else (edge.start, edge.end) for edge, _ in drawn.ways
    )
    for _, points in drawn.ways:
        for number, (start, end) in enumerate(pairwise(points)):
            middle = (start[0] + end[0]) / 2
            bent = [start, (middle, start[1]), (middle, end[1]), end] if number % 2 == 0 else [start, end]
            for step in range(SAMPLES + 1):
                assert not any(inside(bezier(list(bent), step / SAMPLES), box) for box in boxes)


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(1, 50)), min_size=1, max_size=12))
def test_spread_keeps_the_order_and_its_steps(rows: list[tuple[float, float]]) -> None:
    wanted, steps = [row[0] for row in rows], [row[1] for row in rows]
    found = spread(wanted, steps)
    assert all(b - a >= step - 1e-9 for (a, b), step in zip(pairwise(found), steps, strict=False))
    if all(b - a >= step for (a, b), step in zip(pairwise(wanted), steps, strict=False)):
        assert found == pytest.approx(wanted)


def main() -> None:
    for ending, write in KEPT.items():
        (HERE / f"dozen.{ending}").write_text(write(dozen()))


if __name__ == "__main__":
    main()
