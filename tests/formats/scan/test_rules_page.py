"""docs/scan.md lists every rule of the table; `python -m tests.formats.scan.test_rules_page` regenerates it."""

from __future__ import annotations

from pathlib import Path

from llorch.formats.scan import RULES

PAGE = Path(__file__).parents[3] / "docs" / "scan.md"
BEGIN, END = "<!-- rules: generated -->\n", "<!-- rules: end -->\n"


def rendered(page: str) -> str:
    """Return the page with its table regenerated."""
    rows = [f"| `{rule.id}` | {rule.level} | {rule.meaning} | {rule.remedy} |" for rule in RULES.values()]
    table = "\n".join(["| rule | level | what it is | what to do |", "| --- | --- | --- | --- |", *rows, ""])
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}{table}{END}{rest.split(END)[1]}"


def test_the_page_has_every_rule_as_the_table_says_it() -> None:
    page = PAGE.read_text()
    assert page == rendered(page), "`make docs` writes it anew"


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
