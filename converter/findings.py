"""Findings of the scan of a source's texts, and which of them are accepted, as a conversion records them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llorch.formats.gguf import Metadata
from llorch.formats.scan import Allowance, Finding, not_allowed, scan_metadata
from llorch.formats.tokenizer import TokenizerFiles


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings of a scan. accepted: the accepted ones, each with who accepted it and why."""

    standing: tuple[Finding, ...]
    accepted: tuple[tuple[Finding, Allowance], ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each warning; notes are recorded only."""
        return tuple(str(one) for one in self.standing if one.level == "warning")

    def to_json(self) -> list[dict[str, object]]:
        """Return the findings as in conversion.json."""
        standing: list[dict[str, object]] = [{**one.to_json(), "allowed": None} for one in self.standing]
        accepted = [
            {**one.to_json(), "allowed": {"by": who.by, "reason": who.reason}} for one, who in self.accepted
        ]
        return standing + accepted


def scan_source(metadata: Metadata, tokenizer: TokenizerFiles, allow: Sequence[Allowance]) -> Findings:
    """Scan the chat templates, which the tokenizer reports on, and every other text of a header."""
    found = [one for report in tokenizer.template_reports.values() for one in report.findings]
    standing, accepted = not_allowed([*found, *scan_metadata(metadata, templates=False)], allow)
    return Findings(tuple(standing), tuple(accepted))
