"""What a file brings along besides weights: looked at before anything loads or runs, by rules with names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.scan.rules import RULES, Finding, Rule
    from llorch.formats.scan.template import scan_template
    from llorch.formats.scan.text import scan_text

__all__ = [
    "RULES",
    "Finding",
    "Rule",
    "scan_template",
    "scan_text",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rules": ["RULES", "Finding", "Rule"],
        "template": ["scan_template"],
        "text": ["scan_text"],
    },
)
