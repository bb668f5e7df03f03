"""The report of a verification: a result for every check, and one outcome."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

SCHEMA = "llorch.verification/v1"


class Status(enum.StrEnum):
    """How a check ended; only PASSED and WARNED mean that something was measured and is allowed."""

    PASSED = "PASSED"
    WARNED = "WARNED"  # above the limit, but not yet a fault
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"  # something it needs is missing
    ERROR = "ERROR"  # it raised an error, so there is no measurement


@dataclass(frozen=True, slots=True)
class Result:
    """One check's measurement and its limit.

    value: in `unit`; None if nothing was measured. where: the tensor, file or position of the worst value. detail: what
    was compared, or why nothing was. optional: if skipped, the verification is still complete. made: time, RFC 3339, if
    the result is from an earlier verification of the same bytes.
    """

    name: str
    status: Status
    value: float | None
    at_most: float
    unit: str
    because: str
    where: str
    detail: str
    seconds: float
    optional: bool = False
    made: str = ""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Result:
        """Return the result of a row made by `to_json`."""
        return cls(**{**row, "status": Status(row["status"])})

    def to_json(self) -> dict[str, object]:
        """Return the row for a report; a NaN or infinite value is null, and stated in `detail`."""
        finite = self.value is not None and math.isfinite(self.value)
        return {
            "name": self.name,
            "status": str(self.status),
            "value": self.value if finite else None,
            "at_most": self.at_most,
            "unit": self.unit,
            "because": self.because,
            "where": self.where,
            "detail": self.detail
            if finite or self.value is None
            else f"measured {self.value}; {self.detail}",
            "seconds": round(self.seconds, 3),
            "optional": self.optional,
            "made": self.made,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one verification.

    folder, against: what was compared; `against` is None if there was no source. level: "quick" or "full". started,
    finished: RFC 3339, UTC. tools: name → version of the tools. lockstep: from `LockstepResult.to_json`. reference:
    from `measure_cost`.
    """

    folder: str
    against: str | None
    level: str
    device: str
    started: str
    finished: str
    tools: Mapping[str, str]
    results: Sequence[Result]
    lockstep: Mapping[str, Any] | None = None
    reference: Mapping[str, Any] | None = None

    @property
    def outcome(self) -> str:
        """FAILED if a check failed or raised an error, INCOMPLETE if one was skipped or none was run, else PASSED.

        Optional checks may be skipped: the folder makes no such claim, or they need a library that is an extra.
        """
        asked = [
            result for result in self.results if not (result.optional and result.status == Status.SKIPPED)
        ]
        statuses = {result.status for result in asked}
        if statuses & {Status.FAILED, Status.ERROR}:
            return "FAILED"
        return "INCOMPLETE" if Status.SKIPPED in statuses or not statuses else "PASSED"

    @property
    def counts(self) -> dict[str, int]:
        """Status → number of checks, in the order of `Status`; only those that occurred."""
        found = [result.status for result in self.results]
        return {str(status): found.count(status) for status in Status if status in found}

    @property
    def sentence(self) -> str:
        """The number of checks by status, the failed ones, and the duration, on one line."""
        counts = ", ".join(f"{count} {status.lower()}" for status, count in self.counts.items())
        bad = [result for result in self.results if result.status in (Status.FAILED, Status.ERROR)]
        names = f"; failed: {', '.join(result.name for result in bad)}" if bad else ""
        if kept := [result for result in self.results if result.made]:
            latest = max(result.made for result in kept)
            names += f"; {len(kept)} of them made before, {latest}, of the same bytes (--again makes them)"
        return f"{counts or 'no check was made'} in {sum(r.seconds for r in self.results):.1f} s{names}"

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Report:
        """Return the report of a document made by `to_json`; KeyError or TypeError for another document."""
        # Older documents have neither.
        later: dict[str, Any] = {name: document.get(name) for name in ("lockstep", "reference")}
        known = later | {f.name: document[f.name] for f in fields(cls) if f.name not in (*later, "results")}
        return cls(**known, results=[Result.from_json(row) for row in document["checks"]])

    def to_json(self) -> dict[str, object]:
        """Return the document for --json."""
        return {
            "schema": SCHEMA,
            "folder": self.folder,
            "against": self.against,
            "level": self.level,
            "device": self.device,
            "outcome": self.outcome,
            "counts": self.counts,
            "started": self.started,
            "finished": self.finished,
            "tools": dict(self.tools),
            "checks": [result.to_json() for result in self.results],
            "lockstep": self.lockstep,
            "reference": self.reference,
        }
