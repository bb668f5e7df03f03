"""Allowances: findings that somebody reviewed and accepts, with who and why.

A TOML file, so that it can be kept next to a pipeline and be reviewed:

    [[allow]]
    rule = "date-gate"
    what = "a condition on strftime_now"
    by = "Ada Example"
    reason = "the publisher's template says the season"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.scan.rules import RULES, Finding

FIELDS = ("rule", "by", "reason", "where", "what")


@dataclass(frozen=True, slots=True)
class Allowance:
    """One finding, or all of a rule, that is accepted. where, what: as in the finding; None matches any."""

    rule: str
    by: str
    reason: str
    where: str | None = None
    what: str | None = None

    def covers(self, finding: Finding) -> bool:
        """Return whether it applies to this finding."""
        return (
            self.rule == finding.rule
            and self.where in (None, finding.where)
            and self.what in (None, finding.what)
        )

    def to_toml(self) -> str:
        """Return the TOML lines that `read_allowances` reads back."""
        values = {name: getattr(self, name) for name in FIELDS}
        lines = [f"{name} = {_quote(value)}" for name, value in values.items() if value is not None]
        return "\n".join(["[[allow]]", *lines, ""])


def _quote(text: str) -> str:
    """Return a TOML basic string: a JSON string without surrogate escapes, and with DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_allowances(path: Path) -> list[Allowance]:
    """Read a file of allowances; MalformedInput for an unknown rule, or without `by` or `reason`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MalformedInput(f"is no TOML: {printable(str(error), 100, quoted=False)}", path=path) from None
    rows = document.get("allow", [])
    if (
        set(document) - {"allow"}
        or not isinstance(rows, list)
        or not all(isinstance(row, dict) for row in rows)
    ):
        raise MalformedInput("holds something else than [[allow]] tables", path=path)
    return [_check(row, number, path) for number, row in enumerate(rows, 1)]


def _check(row: dict[str, object], number: int, path: Path) -> Allowance:
    where = f"[[allow]] {number}"
    if unknown := sorted(set(row) - set(FIELDS)):
        raise MalformedInput(f"has the unknown key {printable(unknown[0])}", where=where, path=path)
    texts = {name: value for name, value in row.items() if isinstance(value, str) and value.strip()}
    for name in ("rule", "by", "reason"):
        if name not in texts:
            raise MalformedInput(f"has no {name}", where=where, path=path, hint="say which rule, who and why")
    if texts["rule"] not in RULES:
        raise MalformedInput(f"names {printable(texts['rule'])}, which is no rule", where=where, path=path)
    return Allowance(**texts)


def not_allowed(
    findings: Iterable[Finding], allowances: Sequence[Allowance]
) -> tuple[list[Finding], list[tuple[Finding, Allowance]]]:
    """Split findings into those that stand, and those that are allowed, each with its allowance."""
    standing, accepted = [], []
    for finding in findings:
        by = next((one for one in allowances if one.covers(finding)), None)
        if by is None:
            standing.append(finding)
        else:
            accepted.append((finding, by))
    return standing, accepted
