"""docs/verification.md lists every check as declared; run as a module, this writes its table."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llorch.verification.check import Check
from llorch.verification.checks import CHECKS
from llorch.verification.smoke import SMOKE_CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "verification.md"
TABLES: Mapping[str, Mapping[str, Check[Any]]] = {
    "<!-- made by `make docs` from verification/checks/ -->\n": CHECKS,
    "<!-- made by `make docs` from verification/smoke.py -->\n": SMOKE_CHECKS,
}
END = "<!-- end -->\n"


def row(check: Check[Any]) -> str:
    what = " ".join(inspect.cleandoc(check.measure.__doc__ or "").split("\n\n")[0].split())
    limit = f"{check.at_most:g}" + (
        f", fault above {check.fault_above:g}" if check.fault_above > -math.inf else ""
    )
    level = "" if check.level == "quick" else f" ({check.level} only)"
    return f"| `{check.name}`{level} | {what} | {limit} {check.unit} | {check.because} |\n"


def table(checks: Mapping[str, Check[Any]]) -> str:
    head = "| check | what it measures | at most | because |\n| --- | --- | --- | --- |\n"
    return head + "".join(map(row, checks.values()))


def rendered(page: str) -> str:
    for begin, checks in TABLES.items():
        before, _, rest = page.partition(begin)
        page = before + begin + table(checks) + END + rest.partition(END)[2]
    return page


def test_the_page_has_every_check_as_it_is_declared() -> None:
    page = PAGE.read_text()
    assert page == rendered(page), "`make docs` writes it anew"


def test_every_check_says_what_it_measures_in_which_unit_and_why() -> None:
    for check in (check for checks in TABLES.values() for check in checks.values()):
        assert check.measure.__doc__
        assert check.unit
        assert check.because


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
