"""Lineage: a download, a conversion, two verifications and a re-conversion."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta

import pytest

from llorch.registry import Registry
from llorch.registry.errors import InvalidReference
from llorch.registry.export.drawing import as_dot, as_svg, as_tree
from llorch.registry.records.records import EdgeRecord, RunRecord, SourceRecord
from tests.registry.invented import START, conversion, folder, gguf, uid, verification

HOUR = timedelta(hours=1)


def fetch() -> RunRecord:
    source = SourceRecord("hub", "owner/name", "tiny.gguf", gguf().digest, "main", "a" * 40)
    return RunRecord(
        uid("fetch", START - HOUR), "fetch", "succeeded", START - HOUR,
        edges=[EdgeRecord("output", gguf(), "tiny.gguf")], sources=[source],
    )  # fmt: skip


@pytest.fixture
def told(registry: Registry) -> Registry:
    """The picture's five runs, and an unrelated one."""
    checked = verification("tiny", "PASSED", at=START + HOUR)
    checked = replace(checked, edges=[*checked.edges, EdgeRecord("reference", gguf(), "tiny.gguf")])
    again = replace(conversion("again", at=START + 2 * HOUR, source="tiny.gguf"))
    registry.record(
        fetch(), conversion(), checked, verification("tiny", "FAILED", at=START + 3 * HOUR), again,
        conversion("stranger"), names={"tiny": folder().digest},
    )  # fmt: skip
    return registry


def test_above_a_folder_are_its_file_and_the_download_and_beside_it_its_checks(told: Registry) -> None:
    lineage = told.lineage("tiny")
    assert {node.digest for node in lineage.artifacts} == {gguf().digest, folder().digest}
    assert [node.kind for node in lineage.runs] == ["fetch", "convert", "verify", "verify"]
    assert lineage.runs[0].source == "owner/name/tiny.gguf@" + "a" * 40


def test_below_a_file_is_all_that_was_made_of_it(told: Registry) -> None:
    lineage = told.lineage(gguf().digest)
    assert {node.digest for node in lineage.artifacts} == {
        gguf().digest, folder().digest, folder("again").digest
    }  # fmt: skip
    assert [node.kind for node in lineage.runs] == ["fetch", "convert", "verify", "convert", "verify"]


def test_a_chain_is_followed_to_both_ends(registry: Registry) -> None:
    for n in range(20):
        step = conversion(f"m{n + 1}", at=START + n * HOUR)
        edges = [EdgeRecord("input", folder(f"m{n}")), EdgeRecord("output", folder(f"m{n + 1}"))]
        registry.record(replace(step, edges=edges))
    for middle in (0, 10, 20):
        assert len(registry.lineage(folder(f"m{middle}").digest).artifacts) == 21


def test_a_ring_ends(registry: Registry) -> None:
    for first, second in (("a", "b"), ("b", "a")):
        step = replace(
            conversion(first),
            edges=[EdgeRecord("input", folder(first)), EdgeRecord("output", folder(second))],
        )
        registry.record(step)
    lineage = registry.lineage(folder("a").digest)
    assert len(lineage.artifacts) == 2
    assert as_tree(lineage)
    ET.fromstring(as_svg(lineage))


def test_the_tree_is_these_lines(told: Registry) -> None:
    assert as_tree(told.lineage("tiny")).splitlines() == [
        f"tiny · {folder().digest[:18]} · hf-folder bfloat16 FAILED",
        "├── by convert · 2026-11-24 02:00 · llorch 0.1.0",
        f"│   └── tiny.gguf · {gguf().digest[:19]} · gguf Q4_1",
        "│       └── by fetch · 2026-11-24 01:00 · owner/name · tiny.gguf@aaaaaaaaaaaa",
        "├── into verify PASSED · 2026-11-24 03:00",
        "└── into verify FAILED · 2026-11-24 05:00",
    ]


def test_dot_has_a_line_for_every_node_and_arrow(told: Registry) -> None:
    lineage = told.lineage(gguf().digest)
    lines = as_dot(lineage).splitlines()
    assert len([line for line in lines if "shape=box" in line]) == len(lineage.artifacts)
    assert len([line for line in lines if "shape=ellipse" in line]) == len(lineage.runs)
    assert len([line for line in lines if " -> " in line]) == len(lineage.arrows)
    assert [line for line in lines if "dashed" in line] == [
        f'  "{gguf().digest}" -> "{uid("verify tiny", START + HOUR)}" [style=dashed];'
    ]


def test_svg_is_xml_whose_boxes_do_not_overlap_and_whose_arrows_go_to_the_right(told: Registry) -> None:
    root = ET.fromstring(as_svg(told.lineage(gguf().digest)))
    space = "{http://www.w3.org/2000/svg}"
    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in root.findall(space + "rect")
    ]
    assert len(boxes) == 8
    for place, (x, y, width, height) in enumerate(boxes):
        assert 0 <= x < x + width <= float(root.attrib["width"])
        assert 0 <= y < y + height <= float(root.attrib["height"])
        for other in boxes[place + 1 :]:
            apart = x + width <= other[0] or other[0] + other[2] <= x
            assert apart or y + height <= other[1] or other[1] + other[3] <= y
    for path in root.findall(space + "path"):
        numbers = [float(number) for number in re.findall(r"[\d.]+", path.attrib["d"])]
        assert numbers[0] < numbers[-2]


def test_what_a_label_holds_breaks_neither_picture(registry: Registry) -> None:
    label = 'a"b\\<&>\n'
    registry.record(replace(conversion(), edges=[EdgeRecord("output", folder(), label)]))
    lineage = registry.lineage(folder().digest)
    texts = [text.text or "" for text in ET.fromstring(as_svg(lineage)).iter() if text.tag.endswith("text")]
    assert 'a"b\\<&>' in "".join(texts)
    for line in as_dot(lineage).splitlines():
        assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0


def test_a_run_has_no_lineage(told: Registry) -> None:
    with pytest.raises(InvalidReference, match="is a run"):
        told.lineage(conversion().uid)
