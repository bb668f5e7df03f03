"""The result of `llorch-convert`: as text, as JSON, and as an exit code."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llorch.base.printable import printable
from llorch.commands.cli import Failure, size
from llorch.commands.ledger import RecordResult
from llorch.verification import Report

if TYPE_CHECKING:
    from llorch.converter import Conversion
    from llorch.converter.quantization import ReferenceComparison
    from llorch.verification import ConfigComparison


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """A conversion, the report of its verification (None: not requested), and where both are recorded.

    config: how its config.json differs from that of the original, if one was given.
    """

    conversion: Conversion
    report: Report | Failure | None
    recorded: RecordResult | Failure
    config: ConfigComparison | None = None

    @property
    def exit_code(self) -> int:
        """The exit code: the registry's failure takes precedence over a check's."""
        if isinstance(self.recorded, Failure):
            return self.recorded.exit_code
        if self.recorded.refused is not None:
            return 1
        if isinstance(self.report, Failure):
            return self.report.exit_code
        return {"FAILED": 1, "INCOMPLETE": 7}.get(self.report.outcome, 0) if self.report is not None else 0

    def to_json(self, error: ReferenceComparison | Failure | None = None) -> dict[str, object]:
        """Return the document for --json: the conversion as in conversion.json, the report, where both are recorded.

        Its "reference" is the error of each tensor and its "reference_config" how config.json differs from the
        original's; each is null if there was nothing to compare with.
        """
        return {
            "schema": "llorch.convert/v1",
            "folder": os.fspath(self.conversion.folder),
            "conversion": self.conversion.to_json(),
            "verification": self.report.to_json() if self.report is not None else None,
            "registry": self.recorded.to_json(),
            "reference": error.to_json() if error is not None else None,
            "reference_config": self.config.to_json() if self.config is not None else None,
        }

    def summary(self) -> str:
        """Return the lines for a person: what was written, the checks' verdict, config.json's effects, the record."""
        made = self.conversion
        written = size(sum(file.size for file in made.files)).brief
        what = f"{made.architecture}, {made.dtype}, {len(made.tensors)} tensors, {written}"
        lines = [f"converted  {printable(made.folder, 200, quoted=False)}  ({what})"]
        if isinstance(self.report, Report):
            lines += [f"verified   {self.report.outcome}  ({self.report.sentence})"]
        if self.config is not None:
            lines += [f"config     {effect}" for effect in self.config.effects]
            lines += [f"config     {self.config.sentence}"]
        if isinstance(self.recorded, RecordResult):
            at = f"{self.recorded.digest[:18]}, in {self.recorded.registry}"
            lines += [f"recorded   {self.recorded.name}  ({at})"]
        return "\n".join(lines)
