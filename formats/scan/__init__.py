"""Scans of what a model brings along besides weights, before anything loads or runs it, by named rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.scan.allow import Allowance, not_allowed, read_allowances
    from llorch.formats.scan.folder import scan_files, scan_folder
    from llorch.formats.scan.metadata import scan_metadata
    from llorch.formats.scan.rules import RULES, Finding, Rule
    from llorch.formats.scan.template import scan_template
    from llorch.formats.scan.text import scan_text

__all__ = [
    "RULES",
    "Allowance",
    "Finding",
    "Rule",
    "not_allowed",
    "read_allowances",
    "scan_files",
    "scan_folder",
    "scan_metadata",
    "scan_template",
    "scan_text",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "allow": ["Allowance", "not_allowed", "read_allowances"],
        "folder": ["scan_files", "scan_folder"],
        "metadata": ["scan_metadata"],
        "rules": ["RULES", "Finding", "Rule"],
        "template": ["scan_template"],
        "text": ["scan_text"],
    },
)
