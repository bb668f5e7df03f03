"""A batch's status as a self-contained HTML page, and as text for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from llorch.base.version import __version__
from llorch.commands.cli import duration, size

if TYPE_CHECKING:
    from llorch.fleet import Status

COLOURS: Mapping[str, str] = {
    "converted": "#2e7d32",
    "failed": "#c62828",
    "refused": "#8d6e63",
    "running": "#1565c0",
    "waiting": "#b0bec5",
}

STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; overflow-wrap: anywhere; }
th { border-bottom: 1px solid; }
.bar { display: flex; height: 1.5rem; border-radius: .3rem; overflow: hidden; }
.key span { margin-right: 1.2rem; white-space: nowrap; }
.key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .3rem; }
"""


def status_page(found: Status) -> str:
    """Return the HTML page: a bar of all tasks by state, figures, failures by cause, hosts, running tasks."""
    total = sum(found.states.values())
    bar = "".join(
        f'<div style="flex:{count};background:{COLOURS[state]}" title="{state}: {count}"></div>'
        for state, count in found.states.items()
        if count
    )
    key = "".join(
        f'<span><i style="background:{COLOURS[state]}"></i>{count} {state}</span>'
        for state, count in found.states.items()
    )
    rate = (
        "not known yet"
        if found.bytes_per_second is None
        else f"{size(int(found.bytes_per_second)).brief}/s a task"
    )
    left = "not known yet" if found.eta_s is None else duration(found.eta_s).brief
    figures = [
        ("read", f"{size(found.done_bytes).brief} of {size(found.all_bytes).brief}"),
        ("written", size(found.written_bytes).brief),
        ("rate", rate),
        ("left", left),
    ]
    failures = [(one.reason, one.count, one.output, one.example) for one in found.failures]
    hosts = [
        (one.host, one.converted, one.failed, duration(one.seconds).brief, size(one.source_bytes).brief)
        for one in found.hosts
    ]
    running = [(one.output, one.host, one.pid, one.attempt) for one in found.running]
    body = [
        f"<h1>{found.states['converted']} of {total} models converted</h1>",
        f'<div class="bar" role="img" aria-label="tasks by state">{bar}</div><p class="key">{key}</p>',
        _table("", ("", ""), figures),
        _table("What failed", ("cause", "tasks", "one of them", "what was said"), failures),
        _table("Hosts", ("host", "converted", "failed", "worked", "read"), hosts),
        _table("Running", ("model", "host", "process", "attempt"), running),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>llorch batch</title>\n'
        f"<style>{STYLE}</style>\n<body>\n{''.join(body)}\n"
        f"<footer>llorch {escape(__version__)}</footer>\n</body>\n</html>\n"
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Iterable[object]]) -> str:
    """Return an HTML table with its title; "" if it has no rows."""
    if not rows:
        return ""
    above = f"<h2>{escape(title)}</h2>" if title else ""
    head = f"<tr>{''.join(f'<th>{escape(one)}</th>' for one in heads)}</tr>\n" if any(heads) else ""
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"{above}<table>{head}{lines}</table>\n"


def prometheus_text(found: Status) -> str:
    """Return the same figures in Prometheus' text format, version 0.0.4."""
    lines = [
        *_metric("tasks", "Tasks by how far they are.", [({"state": s}, n) for s, n in found.states.items()]),
        *_metric(
            "failures",
            "Tasks that ended without a folder.",
            [({"reason": f.reason}, f.count) for f in found.failures],
        ),
        *_metric("source_bytes_done", "Bytes of sources that were converted.", [({}, found.done_bytes)]),
        *_metric("source_bytes", "Bytes of sources of all tasks.", [({}, found.all_bytes)]),
        *_metric("written_bytes", "Bytes of folders that were written.", [({}, found.written_bytes)]),
        *_metric(
            "task_seconds",
            "Seconds that tasks took, by host.",
            [({"host": h.host}, h.seconds) for h in found.hosts],
        ),
    ]
    if found.eta_s is not None:
        lines += _metric("remaining_seconds", "Estimated until all is done.", [({}, found.eta_s)])
    return "\n".join(lines) + "\n"


def _metric(name: str, help: str, values: Sequence[tuple[Mapping[str, str], float]]) -> list[str]:
    """Return the lines of one gauge; none if it has no values."""
    if not values:
        return []
    lines = [f"# HELP llorch_batch_{name} {help}", f"# TYPE llorch_batch_{name} gauge"]
    for labels, value in values:
        pairs = ",".join(f'{label}="{_quote(text)}"' for label, text in labels.items())
        lines.append(f"llorch_batch_{name}{f'{{{pairs}}}' if pairs else ''} {value!r}")
    return lines


def _quote(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
