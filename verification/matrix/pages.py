"""The matrix as JUnit XML for a build server, and as the support page of the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from json import dumps
from typing import Any
from xml.etree import ElementTree as ET

from llorch.verification.matrix.rows import Row, compare_rows, counts

DEVICES = ("cpu", "cuda", "mps")
COLUMNS = (
    "architecture", "model", "formats", *DEVICES,
    "tokens a second", "memory", "tokenizer", "end ids", "kind of cache", "types",
)  # fmt: skip
TICK = {"passed": "✓", "failed": "✗", "skipped": "–"}


def junit(rows: Sequence[Row]) -> str:
    """Return the rows as JUnit XML, one test case each. Source: the schema of Jenkins' xunit plugin."""
    totals = counts(rows)
    suite = ET.Element(
        "testsuite",
        name="llorch-verify matrix",
        tests=str(len(rows)),
        failures=str(totals["failed"]),
        skipped=str(totals["skipped"]),
        errors="0",
        time=f"{sum(row.seconds for row in rows):.3f}",
    )
    for row in rows:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"{row.device}.{row.format}",
            name=row.model,
            time=f"{row.seconds:.3f}",
        )
        if row.status != "passed":
            kind = "failure" if row.status == "failed" else "skipped"
            ET.SubElement(case, kind, message=row.why)
    ET.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def support_page(receipts: Sequence[Mapping[str, Any]]) -> str:
    """Return the support page for receipts: a row per model, with a tick only for a run that passed.

    Runs of a model on several devices, also from several receipts, are compared with that on the first device.
    """
    rows = [Row.from_json(row) for receipt in receipts for row in receipt["rows"]]
    rows = compare_rows(sorted(rows, key=lambda row: DEVICES.index(row.device)))
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    lines = sorted((_architecture(of_model), name) for name, of_model in by_model.items())
    head = f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}\n"
    table = "".join(_line(architecture, name, by_model[name]) for architecture, name in lines)
    failed = [row for row in rows if row.status != "passed"]
    errors = "".join(
        f"- `{row.model}` from {row.format} on {row.device}: {row.status}: {row.why}\n" for row in failed
    )
    sources = "".join(_source(receipt) for receipt in receipts)
    return (
        "# What runs where\n\n"
        "Made by `llorch-verify matrix --markdown` from the receipts of runs; a tick without one fails the tests. "
        f"{TICK['passed']} ran, and gave the same greedy text and probabilities as on the first device, "
        f"{TICK['failed']} did not, {TICK['skipped']} could not be run there. Speed and memory are of its .gguf file "
        "where that ran.\n\n"
        f"{head}{table}\n## Known errors\n\n{errors or 'None in these runs.' + chr(10)}\n## Receipts\n\n{sources}"
    )


def digest(receipt: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a receipt's content, independent of white space in its file."""
    return sha256(dumps(receipt, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _architecture(rows: Sequence[Row]) -> str:
    """Return the architecture as named by the model's files and folders."""
    return _values(row.architecture for row in rows)


def _line(architecture: str, name: str, rows: Sequence[Row]) -> str:
    passed = [row for row in rows if row.status == "passed"]
    cells = [
        architecture,
        name,
        ", ".join(sorted({row.format for row in passed})) or "none",
        *(_device(device, rows) for device in DEVICES),
        _of_devices(passed, lambda row: f"{row.speed:.1f}" if row.speed else ""),
        _of_devices(passed, lambda row: f"{row.memory / 1e6:.0f} MB" if row.memory else ""),
        _values(row.tokenizer for row in passed),
        _values(", ".join(map(str, row.end_ids)) for row in passed),
        _values(row.cache for row in passed),
        _values(row.types for row in passed),
    ]
    return f"| {' | '.join(cells)} |\n"


def _device(device: str, rows: Sequence[Row]) -> str:
    found = {row.status for row in rows if row.device == device}
    if not found:
        return "not run"
    return TICK["failed" if "failed" in found else "passed" if "passed" in found else "skipped"]


def _of_devices(rows: Sequence[Row], said: Callable[[Row], str]) -> str:
    """Return a value per device, from the .gguf file's row, or the folder's if there is no other."""
    found = {
        row.device: f"{row.device} {said(row)}"
        for row in sorted(rows, key=lambda row: row.format == "gguf")
        if said(row)
    }
    return ", ".join(found[device] for device in DEVICES if device in found) or "–"


def _values(values: Iterable[str]) -> str:
    return "; ".join(sorted({value for value in values if value})) or "–"


def _source(receipt: Mapping[str, Any]) -> str:
    tools = ", ".join(f"{name} {version}" for name, version in receipt["tools"].items())
    devices = sorted(
        {f"{row['device']} ({row['device_name']})" for row in receipt["rows"] if row["device_name"]}
    )
    return f"- {receipt['made']}: {', '.join(devices) or 'no device'}; {tools}; sha256 `{digest(receipt)[:16]}`\n"
