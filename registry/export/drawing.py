"""Drawing a lineage: as a text tree, as Graphviz, or as SVG without another program.

Equal runs on the same artifacts are drawn as one node, with their number and the times of the first and the last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from llorch.base.printable import cut, width
from llorch.registry.errors import printable
from llorch.registry.export.layout import Box, Edge, Picture, Size, lay_out
from llorch.registry.query.lineage import INTO, OUT_OF, Arrow, ArtifactNode, Lineage, RunNode

DIGITS = 12
LINE, PADDING, LETTER = 18, 10, 7.2  # pixels; LETTER is the width of a character in a 12 px monospace font
LONGEST = 44  # characters of a line in a box; a longer line is complete in the SVG's title
FILL = {"PASSED": "#e6f4ea", "FAILED": "#fce8e6", "INCOMPLETE": "#fef7e0", None: "#ffffff"}
RUN_FILL = "#eef2f7"
# Monospace fonts, then those with Chinese, Japanese and Korean characters of double width.
FONTS = (
    "DejaVu Sans Mono", "Menlo", "Consolas", "Noto Sans Mono CJK SC", "Noto Sans CJK SC", "Noto Sans CJK JP",
    "Noto Sans CJK KR", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "monospace",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Equal runs: the first and the last by time, and their number."""

    first: RunNode
    last: RunNode
    count: int


def group_runs(lineage: Lineage, *, by_name: bool = False) -> tuple[list[RunGroup], list[Arrow]]:
    """Group equal runs; return the groups, and the arrows of the first run of each, without duplicates.

    by_name: runs with different labels for an artifact are not equal.
    """
    parts: dict[str, dict[Arrow, None]] = {run.uid: {} for run in lineage.runs}
    for arrow in lineage.arrows:
        parts[arrow.run][Arrow("", arrow.role, arrow.digest, arrow.label if by_name else None)] = None
    groups: dict[object, list[RunNode]] = {}
    for run in lineage.runs:
        did = (run.kind, run.status, run.verdict, run.tool, run.source)
        groups.setdefault((did, frozenset(parts[run.uid])), []).append(run)
    firsts = {runs[0].uid for runs in groups.values()}
    mine = {(arrow.run, arrow.role, arrow.digest): arrow for arrow in reversed(lineage.arrows)}
    arrows = [arrow for arrow in reversed(mine.values()) if arrow.run in firsts]
    return [RunGroup(runs[0], runs[-1], len(runs)) for runs in groups.values()], arrows


def as_tree(lineage: Lineage) -> str:
    """Return a lineage as an indented text tree: the root's ancestors, then its descendants."""
    tree = Tree(lineage)
    lines = [" · ".join(artifact_lines(tree.nodes[lineage.root]))]
    met = {lineage.root}
    branches = [*tree.branch(lineage.root, up=True, met=met), *tree.branch(lineage.root, up=False, met=met)]
    return "\n".join(lines + indent(branches))


Branch = tuple[str, list["Branch"]]


class Tree:
    """A lineage as branches of its root."""

    def __init__(self, lineage: Lineage) -> None:
        self.nodes = {node.digest: node for node in lineage.artifacts}
        self._groups, self._arrows = group_runs(lineage, by_name=True)

    def branch(self, digest: str, *, up: bool, met: set[str]) -> list[Branch]:
        """Return the runs that made an artifact (`up`) or used it, each with the artifacts at its other end.

        met: digests that are on the path from the root, which are not expanded again.
        """
        found: list[Branch] = []
        for group in self._groups:
            mine = [arrow for arrow in self._arrows if arrow.run == group.first.uid]
            wanted = OUT_OF if up else ("input",)  # a run that only compared with it is no child
            if not any(arrow.digest == digest and arrow.role in wanted for arrow in mine):
                continue
            below: list[Branch] = [
                (
                    " · ".join(artifact_lines(self.nodes[arrow.digest], arrow.label)),
                    self.branch(arrow.digest, up=up, met=met | {arrow.digest})
                    if arrow.digest not in met
                    else [],
                )
                for arrow in mine
                if arrow.digest != digest and (arrow.role in INTO) is up
            ]
            own = next((arrow.label for arrow in mine if arrow.digest == digest), None)
            lines = run_lines(group)
            if own and own != self.nodes[digest].label:  # other runs have another label for it
                lines[0] += f" as {printable(own)}"
            found.append((f"{'by' if up else 'into'} {' · '.join(lines)}", below))
        return found


def indent(branches: Sequence[Branch]) -> list[str]:
    """Return branches as lines, with the tree's strokes."""
    lines = []
    for place, (text, below) in enumerate(branches):
        last = place == len(branches) - 1
        lines.append(("└── " if last else "├── ") + text)
        lines += [("    " if last else "│   ") + line for line in indent(below)]
    return lines


def artifact_lines(node: ArtifactNode, called: str | None = None) -> list[str]:
    """Return the lines of text on an artifact. called: its label in the run that is shown, if it has no name."""
    label, _, digits = node.digest.partition(":")
    title = ", ".join(name.removesuffix("@latest") for name in node.names) or called or node.label
    facts = " ".join(filter(None, [node.kind, node.dtype, node.verified]))
    return [printable(line) for line in (title, f"{label}:{digits[:DIGITS]}", facts) if line]


def run_lines(group: RunGroup) -> list[str]:
    """Return the lines of text on a group of equal runs."""
    node = group.first
    ended = node.verdict if node.kind == "verify" and node.status == "succeeded" else node.status
    how = f"{node.kind} {ended}" if ended and ended != "succeeded" else node.kind
    times = dict.fromkeys(f"{run.at:%Y-%m-%d %H:%M}" for run in (node, group.last))
    tool = f"llorch {node.tool}" if node.tool else None
    how += f" ×{group.count}" if group.count > 1 else ""
    lines = (how, " – ".join(times), tool, *short_source(node.source or ""))
    return [printable(line) for line in lines if line]


def short_source(source: str) -> tuple[str, str]:
    """Split `repository/path@revision` into repository and the rest, with a shortened revision."""
    repository, _, path = source.rpartition("/")
    name, at, revision = path.partition("@")
    return repository, f"{name}{at}{revision[:DIGITS]}"


def ends(arrow: Arrow) -> tuple[str, str]:
    """Return the nodes at the start and the end of an arrow."""
    return (arrow.digest, arrow.run) if arrow.role in INTO else (arrow.run, arrow.digest)


def as_dot(lineage: Lineage) -> str:
    """Return the graph in Graphviz's DOT language."""
    groups, arrows = group_runs(lineage)
    fonts = json.dumps(",".join(FONTS))
    lines = ["digraph lineage {", "  rankdir=LR;", f"  node [fontname={fonts}, fontsize=10];"]
    for node in lineage.artifacts:
        style = f'shape=box, style=filled, fillcolor="{FILL[node.verified]}"'
        lines.append(f"  {json.dumps(node.digest)} [{style}, label={dot_label(artifact_lines(node))}];")
    lines += [
        f"  {json.dumps(group.first.uid)} [shape=ellipse, label={dot_label(run_lines(group))}];"
        for group in groups
    ]
    for arrow in arrows:
        start, end = map(json.dumps, ends(arrow))
        style = " [style=dashed]" if arrow.role == "reference" else ""
        lines.append(f"  {start} -> {end}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def dot_label(lines: Sequence[str]) -> str:
    """Return lines as a quoted DOT label, with quotes and backslashes escaped."""
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def as_svg(lineage: Lineage) -> str:
    """Return the graph as SVG: time goes to the right, artifacts are boxes, runs are rounded boxes."""
    groups, arrows = group_runs(lineage)
    texts = {node.digest: artifact_lines(node) for node in lineage.artifacts}
    texts |= {group.first.uid: run_lines(group) for group in groups}
    fills = {node.digest: FILL[node.verified] for node in lineage.artifacts}
    edges = [Edge(*ends(arrow), dashed=arrow.role == "reference") for arrow in arrows]
    drawn = lay_out({key: size_of(lines) for key, lines in texts.items()}, edges)
    body = [svg_arrow(edge, points) for edge, points in drawn.ways]
    body += [
        svg_box(drawn.boxes[key], lines, fills.get(key, RUN_FILL), round_=key not in fills)
        for key, lines in texts.items()
    ]
    return "\n".join([*svg_head(drawn), *body, "</svg>"]) + "\n"


def svg_head(drawn: Picture) -> list[str]:
    """Return the start of the SVG document: its size, its fonts, and the arrowhead."""
    fonts = escape(", ".join(f"'{font}'" if " " in font else font for font in FONTS), {'"': "&quot;"})
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{drawn.width:.0f}" height="{drawn.height:.0f}"'
        f' viewBox="0 0 {drawn.width:.0f} {drawn.height:.0f}" font-family="{fonts}" font-size="12">',
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
        ' orient="auto"><path d="M0 0L8 4L0 8z" fill="#5f6368"/></marker></defs>',
    ]


def size_of(lines: Sequence[str]) -> Size:
    """Return the width and height of a node with these lines, in pixels."""
    widest = max((min(width(line), LONGEST) for line in lines), default=0)
    return widest * LETTER + 2 * PADDING, len(lines) * LINE + 2 * PADDING


def svg_box(box: Box, lines: Sequence[str], fill: str, *, round_: bool) -> str:
    """Return a node as SVG; if lines are cut, its title has them complete."""
    left, top, wide, high = box
    x, y = left + PADDING, top + PADDING + LINE * 0.75
    spans = "".join(
        f'<text x="{x:.1f}" y="{y + LINE * n:.1f}">{escape(cut(line, LONGEST))}</text>'
        for n, line in enumerate(lines)
    )
    corner = 14 if round_ else 2
    rect = (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="{corner}"'
        f' fill="{fill}" stroke="#5f6368"'
    )
    if all(width(line) <= LONGEST for line in lines):
        return f"{rect}/>{spans}"
    return f"{rect}><title>{escape(chr(10).join(lines))}</title></rect>{spans}"


def svg_arrow(edge: Edge, points: Sequence[tuple[float, float]]) -> str:
    """Return an arrow as SVG: curved between the columns, level where it passes one; dashed for a comparison."""
    (x, y), *rest = points
    path = [f"M{x:.1f} {y:.1f}"]
    for place, (to_x, to_y) in enumerate(rest):
        middle = (x + to_x) / 2
        bent = f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        path.append(bent if place % 2 == 0 else f"L{to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    dashed = ' stroke-dasharray="4 3"' if edge.dashed else ""
    end = "marker-start" if edge.turned else "marker-end"
    return f'<path d="{"".join(path)}" fill="none" stroke="#5f6368"{dashed} {end}="url(#end)"/>'
