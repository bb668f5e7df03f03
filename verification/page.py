"""A verification as one HTML page: self-contained, without scripts, for light and dark mode, desktop and phone.

No string from a file becomes markup: all go through `curves.text`; should one be missed, the page's content security
policy prevents that anything runs or loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from llorch.verification.curves import Line, Mark, legend, line_chart, text
from llorch.verification.report import Report, Result, Status

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
ORDER = (Status.FAILED, Status.ERROR, Status.WARNED, Status.SKIPPED, Status.PASSED)
MOST_MARKS = 6
MOST_ROWS = 60  # tensors with the largest errors of a quantization


def report_page(report: Report) -> str:
    """Return the HTML page of a report."""
    name = Path(report.folder).name
    sections = [_facts(report)]
    if report.lockstep:
        sections.append(_layers(report.lockstep))
    sections.append(_checks(report.results))
    if report.lockstep:
        sections.append(_positions(report.lockstep))
    if report.reference:
        sections.append(_reference(report.reference))
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    tools = ", ".join(f"{tool} {version}" for tool, version in report.tools.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Verification of {text(name)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><p>Verification</p>\n<h1>{text(name)}</h1></header>\n{''.join(sections)}"
        f"<footer><p>{text(report.started)} to {text(report.finished)}, on {text(report.device)}, by {text(tools)}</p>"
        "</footer>\n</main>\n</body>\n</html>\n"
    )


def _facts(report: Report) -> str:
    facts = [
        ("outcome", f'<span class="{report.outcome}">{report.outcome}</span>'),
        ("against", text(Path(report.against).name if report.against else "nothing")),
        ("level", text(report.level)),
        *((status.lower(), str(count)) for status, count in report.counts.items()),
        ("seconds", f"{sum(result.seconds for result in report.results):.1f}"),
    ]
    tiles = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{tiles}</dl>\n'


def _checks(results: Sequence[Result]) -> str:
    rows = []
    for result in sorted(results, key=lambda one: ORDER.index(one.status)):
        explanation = "; ".join(filter(None, (result.where, result.detail)))
        value = "–" if result.value is None else f"{result.value:.3g}"
        because = (
            f"<small>{text(result.because)}</small>" if result.status in (Status.FAILED, Status.ERROR) else ""
        )
        rows.append(
            f'<tr><td class="{result.status} name">{result.status}</td><td class="name">{text(result.name)}</td>'
            f'<td class="number">{value}</td><td class="number">{result.at_most:.3g}</td><td>{text(result.unit)}</td>'
            f"<td>{text(explanation, 600)}{because}</td></tr>"
        )
    return (
        '<section>\n<h2>Checks</h2>\n<div class="scroll"><table><thead><tr><th>status</th><th>check</th><th>value</th>'
        "<th>at most</th><th>unit</th><th>where and what</th></tr></thead><tbody>"
        f"{''.join(rows)}</tbody></table></div>\n</section>\n"
    )


def _layers(lockstep: Mapping[str, Any]) -> str:
    rows = lockstep["layers"]
    if not rows:
        return ""
    lines = [
        Line("allowed", [row["limit"] for row in rows], "limit"),
        Line("float32 against float64", [row["noise"] for row in rows], "noise"),
        Line("folder against source", [row["relative"] for row in rows], "value", dots=True),
    ]
    faults = [fault for fault in lockstep["faults"] if fault["layer"] is not None]
    marks = [
        Mark(fault["layer"], f"layer {fault['layer']}: {fault['step']}") for fault in faults[:MOST_MARKS]
    ]
    explanation = lockstep["explanation"]
    sentence = (
        f"<p><strong>The readings part at {text(lockstep['faults'][0]['place'])}.</strong> {text(explanation, 400)}</p>"
        if lockstep["faults"]
        else "<p>No operation of any layer that was run gives another result than rounding explains.</p>"
    )
    chart = line_chart(lines, [row["layer"] for row in rows], "layer", "hidden state by layer", marks)
    return (
        f"<section>\n<h2>Hidden state, layer by layer</h2>\n{sentence}\n"
        "<p>The difference of the two readings after each layer, as a share of the hidden state's size.</p>\n"
        f'<div class="scroll">{chart}</div>\n{legend(lines)}</section>\n'
    )


def _positions(lockstep: Mapping[str, Any]) -> str:
    values = lockstep["kl"]
    if not values:
        return ""
    lines = [Line("nats at each position", values, "value")]
    if lockstep["noise"]:
        lines.append(Line("float32 against float64, where measured", lockstep["noise"], "noise"))
    chart = line_chart(lines, list(range(len(values))), "position", "divergence by position")
    return (
        "<section>\n<h2>Divergence by position</h2>\n"
        "<p>Kullback-Leibler divergence of the next token's distribution.</p>\n"
        f'<div class="scroll">{chart}</div>\n{legend(lines)}</section>\n'
    )


def _reference(cost: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{text(row['name'])}</td><td class=number>{row['weights']:,}</td>"
        f"<td class=number>{_number(row['relative'])}</td><td class=number>{_number(row['worst'])}</td></tr>"
        for row in cost["tensors"][:MOST_ROWS]
    )
    chart = ""
    if cost["kl"]:
        lines = [Line("nats at each position", cost["kl"], "value")]
        chart = line_chart(lines, list(range(len(cost["kl"]))), "position", "cost by position")
    return (
        "<section>\n<h2>What the quantization cost</h2>\n"
        f"<p>Against {text(cost['folder'])}: {cost['kl_mean']:.3g} nats in the mean, {cost['kl_max']:.3g} at the "
        f"worst position; perplexity {cost['perplexity'][1]:.5g}, the original's {cost['perplexity'][0]:.5g}.</p>\n"
        f'<div class="scroll">{chart}</div>\n<div class="scroll"><table><thead><tr><th>tensor</th><th>weights</th>'
        "<th>relative error</th><th>largest distance</th></tr></thead><tbody>"
        f"{rows}</tbody></table></div>\n</section>\n"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
