"""A verification as SARIF 2.1.0, which code hosts display with the files.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0, sections 3.13 to 3.27.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llorch.base.version import __version__
from llorch.verification.report import Report, Result, Status

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS: Mapping[Status, str] = {
    Status.FAILED: "error",
    Status.ERROR: "error",
    Status.WARNED: "warning",
    Status.SKIPPED: "note",
}
FILES: Mapping[str, str] = {
    "config": "config.json", "traits": "config.json", "tokenizer": "tokenizer.json", "template": "chat_template.jinja"
}  # fmt: skip  # by the first part of a check's name; the weights for all others


def report_sarif(report: Report) -> dict[str, Any]:
    """Return a report as one SARIF run, with a result for every check that did not pass, at the file it is about."""
    rules = [
        {
            "id": one.name,
            "shortDescription": {"text": one.because},
            "properties": {"unit": one.unit, "limit": repr(one.at_most)},  # as text: JSON has no infinity
        }
        for one in report.results
    ]
    found = [
        _result(one, index, file_of(report, one))
        for index, one in enumerate(report.results)
        if one.status in LEVELS and not one.optional
    ]
    driver = {"name": "llorch-verify", "version": __version__, "rules": rules}
    invocation = {"executionSuccessful": True, "startTimeUtc": report.started, "endTimeUtc": report.finished}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": found}],
    }


def file_of(report: Report, one: Result) -> str:
    """Return the file that a result is about, as a URI relative to the folder; for a .gguf file its name."""
    whole = Path(report.folder)
    name = (
        whole.name
        if whole.suffix.lower() == ".gguf"
        else FILES.get(one.name.split(".")[0], "model.safetensors")
    )
    return quote(os.fsencode(name))


def _result(one: Result, rule: int, file: str) -> dict[str, Any]:
    message = "; ".join(filter(None, (one.where, one.detail))) or one.because
    place = {"artifactLocation": {"uri": file, "uriBaseId": "FOLDER"}}
    return {
        "ruleId": one.name,
        "ruleIndex": rule,
        "level": LEVELS[one.status],
        "message": {"text": message},
        "locations": [{"physicalLocation": place, "logicalLocations": [{"fullyQualifiedName": one.where}]}]
        if one.where
        else [{"physicalLocation": place}],
    }
