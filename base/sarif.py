"""SARIF 2.1.0 documents: findings of a scan or a verification, for code hosts and editors.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0; only the properties that consumers require.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from llorch.base.version import __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
Level = Literal["error", "warning", "note", "none"]


@dataclass(frozen=True, slots=True)
class SarifRule:
    """A rule of a tool. name: stable, for scripts. meaning: a sentence. help: what to do about a finding."""

    name: str
    meaning: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class SarifResult:
    """A finding.

    file: relative to the scanned folder, with `/`. line: from 1. suppressed: why it is suppressed, if it is.
    """

    rule: str
    level: Level
    message: str
    file: str
    line: int | None = None
    suppressed: str | None = None


def sarif(tool: str, rules: Iterable[SarifRule], results: Iterable[SarifResult]) -> bytes:
    """Return the SARIF document, with one run, as JSON in UTF-8.

    >>> document = sarif("scan", [SarifRule("r", "m")], [SarifResult("r", "note", "x", "a.txt", 3)])
    >>> json.loads(document)["runs"][0]["results"][0]["ruleIndex"]
    0
    """
    rows = {rule.name: rule for rule in rules}
    index = {name: number for number, name in enumerate(rows)}
    driver = {
        "name": f"llorch {tool}",
        "version": __version__,
        "rules": [_rule(rule) for rule in rows.values()],
    }
    run = {"tool": {"driver": driver}, "results": [_result(one, index) for one in results]}
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _rule(rule: SarifRule) -> dict[str, object]:
    help_text = {"help": {"text": rule.help}} if rule.help else {}
    return {"id": rule.name, "shortDescription": {"text": rule.meaning}, **help_text}


def _result(result: SarifResult, index: Mapping[str, int]) -> dict[str, object]:
    place: dict[str, object] = {"artifactLocation": {"uri": _uri(result.file)}}
    if result.line is not None:
        place["region"] = {"startLine": result.line}
    found: dict[str, object] = {
        "ruleId": result.rule,
        "ruleIndex": index[result.rule],
        "level": result.level,
        "message": {"text": result.message},
        "locations": [{"physicalLocation": place}],
    }
    if result.suppressed is not None:
        found["suppressions"] = [{"kind": "external", "justification": result.suppressed}]
    return found


def _uri(path: str) -> str:
    """Return a relative path as a percent-encoded URI reference."""
    return quote(os.fsencode(path))
