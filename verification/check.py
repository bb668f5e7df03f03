"""What a check is: a function that measures, under a declaration of what is allowed and why."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from llorch.base.errors import InputError
from llorch.verification.report import Result, Status

S = TypeVar("S")  # what is judged: a folder beside its source, or a model alone

LEVELS = ("quick", "full")


class CannotCheck(Exception):
    """Something that a check needs is not there: the check is skipped, with this as the reason."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a check found: the number that is judged, where the worst lies, and what was compared."""

    value: float
    where: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """A declaration, and the function under it.

    at_most: what `measure` may find; NaN is within no limit. fault_above: where that is higher, values
    between the two are a warning. level: the lowest level that makes it. because: the sentence that a reader
    of a failure needs.
    """

    name: str
    at_most: float
    fault_above: float
    unit: str
    because: str
    level: str
    measure: Callable[[S], Measured]

    def __call__(self, subject: S) -> Result:
        """Measures and judges."""
        started = time.perf_counter()
        try:
            found = self.measure(subject)
        except CannotCheck as reason:
            return self._result(Status.SKIPPED, started, detail=str(reason))
        except InputError as error:
            return self._result(Status.ERROR, started, detail=str(error))
        except Exception as error:  # noqa: BLE001  # a judge that falls over what it judges must still say so
            return self._result(Status.ERROR, started, detail=f"{type(error).__name__}: {error}")
        return self._result(self.judged(found.value), started, float(found.value), found.where, found.detail)

    def judged(self, value: float) -> Status:
        """The status of a measured value."""
        if value <= self.at_most:
            return Status.PASSED
        return Status.WARNED if value <= self.fault_above else Status.FAILED

    def _result(
        self, status: Status, started: float, value: float | None = None, where: str = "", detail: str = ""
    ) -> Result:
        if value is not None and math.isnan(value):
            detail = "; ".join(filter(None, ["nothing was compared", detail]))
        seconds = time.perf_counter() - started
        return Result(self.name, status, value, self.at_most, self.unit, self.because, where, detail, seconds)


def check(
    name: str,
    *,
    at_most: float,
    unit: str,
    because: str,
    fault_above: float = -math.inf,
    level: str = "quick",
) -> Callable[[Callable[[S], Measured]], Check[S]]:
    """Declares the measuring function under it; `llorch.verification.checks.CHECKS` finds what is declared."""

    def declared(measure: Callable[[S], Measured]) -> Check[S]:
        return Check(name, float(at_most), fault_above, unit, because, level, measure)

    return declared


def worst(found: Iterable[tuple[float, str]]) -> Measured:
    """The largest of (value, where); NaN is larger than anything, and the worst of nothing is NaN."""
    largest, place, compared = -math.inf, "", 0
    for value, where in found:
        compared += 1
        if math.isnan(value):
            return Measured(math.nan, where)
        if value > largest:
            largest, place = value, where
    return Measured(largest, place if largest > 0 else "") if compared else Measured(math.nan)


def counted(differences: Iterable[str], detail: str, *, compared: int) -> Measured:
    """How many differences there are among `compared` things, of which none is NaN; `where` has the first."""
    found = list(differences)
    rest = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Measured(len(found) if compared else math.nan, f"{found[0]}{rest}" if found else "", detail)
