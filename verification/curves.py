"""Charts of a verification as SVG in HTML: lines on a logarithmic axis, no scripts, all strings escaped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from llorch.base.printable import printable

WIDTH, HEIGHT = 720, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 700, 14, 206
MOST_DECADES = 16  # of the axis; smaller values are drawn at its bottom
MOST_SHOWN = 200
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of values, one per place of the axis; 0 is drawn at the bottom. colour: a CSS class of the page."""

    name: str
    values: Sequence[float]
    colour: str
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A highlighted place, with a label beside it."""

    place: int
    label: str


def text(value: object, most: int = MOST_SHOWN) -> str:
    """Return a value as escaped text, control characters included, of at most `most` characters."""
    return escape(printable(str(value), most, quoted=False), quote=True)


def line_chart(
    lines: Sequence[Line], places: Sequence[int], axis: str, what: str, marks: Sequence[Mark] = ()
) -> str:
    """Return a chart of lines over places: layers or positions, in rising order. axis: its title. what: for readers.

    what: the description for screen readers.
    """
    finite = [v for line in lines for v in line.values if v > 0 and math.isfinite(v)]
    high = math.ceil(math.log10(max(finite, default=1.0))) or 0
    low = max(math.floor(math.log10(min(finite, default=0.1))), high - MOST_DECADES)
    low, high = (low, high) if low < high else (high - 1, high)

    def y(value: float) -> float:
        if math.isnan(value) or value == math.inf:
            return TOP
        power = low if value <= 0 else min(max(math.log10(value), low), high)
        return BOTTOM - (BOTTOM - TOP) * (power - low) / (high - low)

    def x(index: int) -> float:
        return LEFT + (RIGHT - LEFT) * (index + 0.5) / max(len(places), 1)

    parts = [*_powers(low, high, y)]
    every = max(math.ceil(len(places) / 16), 1)
    parts += [
        _label(x(index), BOTTOM + 18, str(places[index]), "middle") for index in range(0, len(places), every)
    ]
    parts.append(_label((LEFT + RIGHT) / 2, HEIGHT - 8, axis, "middle"))
    for mark in marks:
        if mark.place in places:
            at = x(places.index(mark.place))
            anchor = "start" if at < (LEFT + RIGHT) / 2 else "end"
            beside = at + 6 if anchor == "start" else at - 6
            parts.append(f'<line class="fault" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
            parts.append(_label(beside, TOP + 12, mark.label, anchor, "fault"))
    for line in lines:
        points = [(x(index), y(value)) for index, value in enumerate(line.values)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        title = f"<title>{text(line.name)}</title>"
        parts.append(f'<g class="{line.colour}"><polyline points="{path}">{title}</polyline>')
        if line.dots:
            labels = [
                f"{axis} {place}: {value:.3g}" for place, value in zip(places, line.values, strict=True)
            ]
            parts += [
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3"><title>{text(label)}</title></circle>'
                for (px, py), label in zip(points, labels, strict=True)
            ]
        parts.append("</g>")
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(what)}"'
    return f'<svg class="wide" {box}>{"".join(parts)}</svg>'


def legend(lines: Sequence[Line]) -> str:
    """Return the legend: the lines' names in their colours."""
    keys = "".join(f'<li><i class="{line.colour}"></i>{text(line.name)}</li>' for line in lines)
    return f'<ul class="legend">{keys}</ul>'


def _powers(low: int, high: int, y: object) -> Iterator[str]:
    assert callable(y)
    for power in range(low, high + 1, max(math.ceil((high - low) / 6), 1)):
        at = y(10.0**power)
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield _label(LEFT - 8, at + 4, f"10{str(power).translate(SUPERSCRIPTS)}", "end")


def _label(x: float, y: float, label: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(label)}</text>'
