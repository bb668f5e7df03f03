"""Charts of the quantization report, as SVG inside HTML: no scripts, colours by class, every string escaped.

A mark has a `<title>`, which browsers show on hover and screen readers read. Sizes are in units of the viewBox; the
page scales it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from llorch.base.printable import printable

# A small chart: the plot's place in its viewBox. At a phone's width it is drawn about this large.
WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 312, 12, 124

WIDE, TALL, GROUND = 720, 190, 160
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MOST_SHOWN = 160  # characters of a string from a file


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a bar. colour: a class of the page's style. label: its title."""

    value: float
    colour: str
    label: str


@dataclass(frozen=True, slots=True)
class Range:
    """A range at a layer: low, middle and high, all above zero."""

    layer: int
    low: float
    middle: float
    high: float
    colour: str
    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a layer."""

    layer: int
    value: float
    colour: str
    label: str


def text(value: object, most: int = MOST_SHOWN) -> str:
    """Escape anything as text for an element or an attribute. most: the most characters."""
    return escape(printable(str(value), most, quoted=False), quote=True)


def share_bar(shares: Sequence[Share], total: float, what: str) -> str:
    """Draw one horizontal bar whose full width is `total`."""
    at, marks = 0.0, []
    for share in shares:
        width = 1000 * share.value / total if total else 0.0
        marks.append(_mark(at, 0, max(width - 2, 1.0), 24, share.colour, share.label))
        at += width
    return (
        f'<svg class="bar" viewBox="0 0 1000 24" preserveAspectRatio="none" role="img" aria-label="{text(what)}">'
        f"{''.join(marks)}</svg>"
    )


def layer_bars(layers: Sequence[tuple[str, Sequence[Share]]], unit: float, unit_name: str, what: str) -> str:
    """Draw a stacked bar per layer; the axis is in `unit`s."""
    top = rounded_up(max((sum(share.value for share in shares) for _, shares in layers), default=0.0))
    step = (WIDE - LEFT - 8) / max(len(layers), 1)
    width = max(min(step - 2, 24), step / 2)
    marks = []
    for share_of_top in (0.0, 0.5, 1.0):
        y = GROUND - (GROUND - TOP) * share_of_top
        marks.append(_line(y, WIDE - 8))
        marks.append(_label(LEFT - 6, y + 4, f"{top * share_of_top / unit:.3g}", "end"))
    marks.append(_label(LEFT - 6, TALL - 10, unit_name, "end"))
    every = max(math.ceil(len(layers) / 16), 1)
    for index, (name, shares) in enumerate(layers):
        x, y = LEFT + step * index + (step - width) / 2, float(GROUND)
        for share in shares:
            height = (GROUND - TOP) * share.value / top
            y -= height
            marks.append(_mark(x, y, width, height, share.colour, f"layer {name}: {share.label}"))
        if index % every == 0:
            marks.append(_label(x + width / 2, TALL - 10, name, "middle"))
    return _svg(WIDE, TALL, "wide", what, marks)


def range_chart(ranges: Sequence[Range], decades: tuple[int, int], last_layer: int, what: str) -> str:
    """Draw ranges over the layers, on a logarithmic axis between two powers of ten."""
    low, high = decades

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log10(value) - low) / (high - low)

    marks = []
    for power in range(low, high + 1, max(math.ceil((high - low) / 4), 1)):
        marks.append(_line(y(10.0**power), RIGHT))
        marks.append(_label(LEFT - 6, y(10.0**power) + 4, f"10{str(power).translate(SUPERSCRIPTS)}", "end"))
    marks += _layer_axis(last_layer)
    for r in ranges:
        x = _x(r.layer, last_layer)
        marks.append(
            f'<g class="{r.colour}"><title>{text(r.label)}</title>'
            f'<line class="stem" x1="{x:.1f}" x2="{x:.1f}" y1="{y(r.low):.1f}" y2="{y(r.high):.1f}"/>'
            f'<circle cx="{x:.1f}" cy="{y(r.middle):.1f}" r="2.6"/></g>'
        )
    return _svg(WIDTH, HEIGHT, "small", what, marks)


def point_chart(points: Sequence[Point], top: float, last_layer: int, what: str) -> str:
    """Draw shares over the layers, as bars from zero up to `top`."""
    marks = []
    for part in (0.0, 0.5, 1.0):
        y = BOTTOM - (BOTTOM - TOP) * part
        marks.append(_line(y, RIGHT))
        marks.append(_label(LEFT - 6, y + 4, f"{100 * top * part:.3g} %", "end"))
    marks += _layer_axis(last_layer)
    width = min((RIGHT - LEFT) / (last_layer + 1) * 0.7, 12)
    for point in points:
        height = (BOTTOM - TOP) * min(point.value / top, 1.0)
        x = _x(point.layer, last_layer) - width / 2
        marks.append(_mark(x, BOTTOM - height, width, height, point.colour, point.label))
    return _svg(WIDTH, HEIGHT, "small", what, marks)


def rounded_up(value: float) -> float:
    """Return the end of an axis for `value`: the next of 1, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return power * next((digit for digit in (1, 2, 3, 4, 5, 6, 8) if digit * power >= value), 10)


def _x(layer: int, last_layer: int) -> float:
    return LEFT + (RIGHT - LEFT) * (layer + 0.5) / (last_layer + 1)


def _layer_axis(last_layer: int) -> list[str]:
    layers = sorted({0, last_layer // 2, last_layer})
    return [_label(_x(layer, last_layer), HEIGHT - 8, str(layer), "middle") for layer in layers]


def _mark(x: float, y: float, width: float, height: float, colour: str, label: str) -> str:
    return (
        f'<rect class="{colour}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f"<title>{text(label)}</title></rect>"
    )


def _line(y: float, right: float) -> str:
    return f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _label(x: float, y: float, label: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(label)}</text>'


def _svg(width: int, height: int, kind: str, what: str, marks: Sequence[str]) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{text(what)}">'
        f"{''.join(marks)}</svg>"
    )
