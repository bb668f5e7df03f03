"""A lineage as a picture: a tree of text, Graphviz's language, or SVG without any other program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from llorch.registry.errors import printable
from llorch.registry.query.lineage import INTO, OUT_OF, Arrow, ArtifactNode, Lineage, RunNode

DIGITS = 12
LINE, GAP_X, GAP_Y, PADDING, LETTER = (
    18,
    60,
    24,
    10,
    7.2,
)  # pixels; LETTER is a 12 px monospace letter's width
FILL = {"PASSED": "#e6f4ea", "FAILED": "#fce8e6", "INCOMPLETE": "#fef7e0", None: "#ffffff"}


def as_tree(lineage: Lineage) -> str:
    """What the root came from, then what was made of it, as indented text."""
    nodes = {node.digest: node for node in lineage.artifacts}
    lines = [" · ".join(artifact_lines(nodes[lineage.root]))]
    branches = [
        *branch(lineage, lineage.root, up=True, met={lineage.root}),
        *branch(lineage, lineage.root, up=False, met={lineage.root}),
    ]
    return "\n".join(lines + indented(branches))


Branch = tuple[str, list["Branch"]]


def branch(lineage: Lineage, digest: str, *, up: bool, met: set[str]) -> list[Branch]:
    """The runs that made an artifact, or that it went into, each with what stands at its other end."""
    nodes = {node.digest: node for node in lineage.artifacts}
    found: list[Branch] = []
    for run in lineage.runs:
        mine = [arrow for arrow in lineage.arrows if arrow.run == run.uid]
        wanted = OUT_OF if up else ("input",)  # what was only compared with it is no child of it
        if not any(arrow.digest == digest and arrow.role in wanted for arrow in mine):
            continue
        others = [arrow for arrow in mine if arrow.digest != digest and (arrow.role in INTO) is up]
        below: list[Branch] = [
            (
                " · ".join(artifact_lines(nodes[arrow.digest], arrow.label)),
                branch(lineage, arrow.digest, up=up, met=met | {arrow.digest})
                if arrow.digest not in met
                else [],
            )
            for arrow in others
        ]
        own = next((arrow.label for arrow in mine if arrow.digest == digest), None)
        lines = run_lines(run)
        if own and own != nodes[digest].label:  # other runs called it otherwise
            lines[0] += f" as {printable(own)}"
        found.append((f"{'by' if up else 'into'} {' · '.join(lines)}", below))
    return found


def indented(branches: Sequence[Branch]) -> list[str]:
    """Branches as lines, with the strokes of a tree."""
    lines = []
    for place, (text, below) in enumerate(branches):
        last = place == len(branches) - 1
        lines.append(("└── " if last else "├── ") + text)
        lines += [("    " if last else "│   ") + line for line in indented(below)]
    return lines


def artifact_lines(node: ArtifactNode, called: str | None = None) -> list[str]:
    """What is written on an artifact. called: its name in one run, where only that is meant."""
    label, _, digits = node.digest.partition(":")
    title = ", ".join(name.removesuffix("@latest") for name in node.names) or called or node.label
    facts = " ".join(filter(None, [node.kind, node.dtype, node.verified]))
    return [printable(line) for line in (title, f"{label}:{digits[:DIGITS]}", facts) if line]


def run_lines(node: RunNode) -> list[str]:
    """What is written on a run."""
    ended = node.verdict if node.kind == "verify" and node.status == "succeeded" else node.status
    how = f"{node.kind} {ended}" if ended and ended != "succeeded" else node.kind
    tool = f"llorch {node.tool}" if node.tool else None
    lines = (how, f"{node.at:%Y-%m-%d %H:%M}", tool, *short_source(node.source or ""))
    return [printable(line) for line in lines if line]


def short_source(source: str) -> tuple[str, str]:
    """`repository/path@revision` in two pieces, with as much of the revision as tells two apart."""
    repository, _, path = source.rpartition("/")
    name, at, revision = path.partition("@")
    return repository, f"{name}{at}{revision[:DIGITS]}"


def as_dot(lineage: Lineage) -> str:
    """The graph in Graphviz's language."""
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="monospace", fontsize=10];']
    for node in lineage.artifacts:
        style = f'shape=box, style=filled, fillcolor="{FILL[node.verified]}"'
        lines.append(f"  {json.dumps(node.digest)} [{style}, label={dot_label(artifact_lines(node))}];")
    lines += [
        f"  {json.dumps(run.uid)} [shape=ellipse, label={dot_label(run_lines(run))}];" for run in lineage.runs
    ]
    for arrow in lineage.arrows:
        ends = (arrow.digest, arrow.run) if arrow.role in INTO else (arrow.run, arrow.digest)
        style = " [style=dashed]" if arrow.role == "reference" else ""
        lines.append(f"  {json.dumps(ends[0])} -> {json.dumps(ends[1])}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def dot_label(lines: Sequence[str]) -> str:
    """Lines in quotes; only quotes and backslashes mean something there."""
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def as_svg(lineage: Lineage) -> str:
    """The graph as a picture: time goes to the right, an artifact is a box, a run a rounded one."""
    texts = {node.digest: artifact_lines(node) for node in lineage.artifacts}
    texts |= {run.uid: run_lines(run) for run in lineage.runs}
    columns = columns_of(lineage)
    boxes, width, height = placed(columns, texts)
    fills = {node.digest: FILL[node.verified] for node in lineage.artifacts}
    body = [svg_arrow(arrow, boxes) for arrow in lineage.arrows]
    body += [
        svg_box(boxes[key], lines, fills.get(key, "#eef2f7"), round_=key not in fills)
        for key, lines in texts.items()
    ]
    return (
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
                f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">',
                '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
                ' orient="auto"><path d="M0 0L8 4L0 8z" fill="#5f6368"/></marker></defs>',
                *body,
                "</svg>",
            ]
        )
        + "\n"
    )


def columns_of(lineage: Lineage) -> list[list[str]]:
    """Nodes by the longest way to them, from the left; runs are in the order of time within a column."""
    nodes = [*(node.digest for node in lineage.artifacts), *(run.uid for run in lineage.runs)]
    depth = dict.fromkeys(nodes, 0)
    ways = [
        (arrow.digest, arrow.run) if arrow.role in INTO else (arrow.run, arrow.digest)
        for arrow in lineage.arrows
    ]
    for _ in nodes:  # a way has at most this many steps, even should a damaged registry hold a ring
        for start, end in ways:
            depth[end] = min(max(depth[end], depth[start] + 1), len(nodes) - 1)
    return [[node for node in nodes if depth[node] == column] for column in sorted(set(depth.values()))]


Box = tuple[float, float, float, float]  # left, top, width, height


def placed(
    columns: Sequence[Sequence[str]], texts: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Box], float, float]:
    """Where each node stands, and how large the picture is; columns are centred on one another."""
    heights = {key: len(lines) * LINE + 2 * PADDING for key, lines in texts.items()}
    totals = [sum(heights[key] + GAP_Y for key in column) + GAP_Y for column in columns]
    height, left = max(totals), float(GAP_Y)
    boxes: dict[str, Box] = {}
    for column, total in zip(columns, totals, strict=True):
        width = max(len(line) for key in column for line in texts[key]) * LETTER + 2 * PADDING
        top = (height - total) / 2 + GAP_Y
        for key in column:
            boxes[key] = (left, top, width, heights[key])
            top += heights[key] + GAP_Y
        left += width + GAP_X
    return boxes, left - GAP_X + GAP_Y, height


def svg_box(box: Box, lines: Sequence[str], fill: str, *, round_: bool) -> str:
    """A node with its lines."""
    left, top, width, height = box
    spans = "".join(
        f'<text x="{left + PADDING:.1f}" y="{top + PADDING + LINE * (n + 0.75):.1f}">{escape(line)}</text>'
        for n, line in enumerate(lines)
    )
    corner = 14 if round_ else 2
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{corner}"'
        f' fill="{fill}" stroke="#5f6368"/>{spans}'
    )


def svg_arrow(arrow: Arrow, boxes: Mapping[str, Box]) -> str:
    """A curve from a node's right side to the other's left; dashed to what was only compared with."""
    ends = (arrow.digest, arrow.run) if arrow.role in INTO else (arrow.run, arrow.digest)
    (left, top, width, height), (to_left, to_top, _, to_height) = boxes[ends[0]], boxes[ends[1]]
    x, y, end_x, end_y = left + width, top + height / 2, to_left, to_top + to_height / 2
    middle = (x + end_x) / 2
    dashed = ' stroke-dasharray="4 3"' if arrow.role == "reference" else ""
    return (
        f'<path d="M{x:.1f} {y:.1f}C{middle:.1f} {y:.1f} {middle:.1f} {end_y:.1f} {end_x:.1f} {end_y:.1f}"'
        f' fill="none" stroke="#5f6368"{dashed} marker-end="url(#end)"/>'
    )
