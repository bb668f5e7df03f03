"""What a source brings along besides its weights, and which of it somebody takes, as a conversion records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llorch.formats.gguf import Metadata
from llorch.formats.scan import Allowance, Finding, not_allowed, scan_metadata
from llorch.formats.tokenizer import TokenizerFiles


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a scan found. taken: what is not warned of, each with who says so and why."""

    standing: tuple[Finding, ...]
    taken: tuple[tuple[Finding, Allowance], ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line each; notes are recorded and not warned of."""
        return tuple(str(one) for one in self.standing if one.level == "warning")

    def to_json(self) -> list[dict[str, object]]:
        """As conversion.json has them."""
        standing: list[dict[str, object]] = [{**one.to_json(), "allowed": None} for one in self.standing]
        taken = [
            {**one.to_json(), "allowed": {"by": who.by, "reason": who.reason}} for one, who in self.taken
        ]
        return standing + taken


def scan_source(metadata: Metadata, tokenizer: TokenizerFiles, allow: Sequence[Allowance]) -> Findings:
    """Of the templates, as the tokenizer reports on them, and of every other text of a header."""
    found = [one for report in tokenizer.template_reports.values() for one in report.findings]
    standing, taken = not_allowed([*found, *scan_metadata(metadata, templates=False)], allow)
    return Findings(tuple(standing), tuple(taken))
