"""What a check is: a function that measures, under a declaration of what is allowed and why."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from llorch.base.errors import InputError
from llorch.verification.report import Result, Status

T = TypeVar("T")
S = TypeVar("S")  # what is judged: a folder beside its source, or a model alone

LEVELS = ("quick", "full")
NOISES = 20  # times a model's own noise is no finding: it is measured at few positions, and its tail is long


class CannotCheck(Exception):
    """Something that a check needs is not there: the check is skipped, with this as the reason.

    optional: whether a verification without it is whole: the folder makes no such claim, or it needs an extra.
    """

    def __init__(self, reason: str, *, optional: bool = False) -> None:
        super().__init__(reason)
        self.optional = optional


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a check found: the number that is judged, where the worst lies, and what was compared.

    noise: what the same number is between two right computations of this model, where that was measured.
    """

    value: float
    where: str = ""
    detail: str = ""
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """A declaration, and the function under it.

    at_most: what `measure` may find; NaN is within no limit. fault_above: where that is higher, values
    between the two are a warning. ceiling: what `at_most` is raised to at most, for a model whose own noise, times
    `NOISES`, is above it. level: the lowest level that makes it. because: the sentence that a reader of a failure
    needs.
    """

    name: str
    at_most: float
    fault_above: float
    unit: str
    because: str
    level: str
    measure: Callable[[S], Measurement]
    ceiling: float = -math.inf

    def __call__(self, subject: S) -> Result:
        """Measures and judges."""
        started = time.perf_counter()
        try:
            found = self.measure(subject)
        except CannotCheck as reason:
            return self._result(Status.SKIPPED, started, detail=str(reason), optional=reason.optional)
        except InputError as error:
            return self._result(Status.ERROR, started, detail=str(error))
        except Exception as error:  # noqa: BLE001  # a judge that falls over what it judges must still say so
            return self._result(Status.ERROR, started, detail=f"{type(error).__name__}: {error}")
        limit = self.limit(found.noise)
        status = self.judged(found.value, limit)
        return self._result(status, started, float(found.value), found.where, found.detail, at_most=limit)

    def limit(self, noise: float = 0.0) -> float:
        """What may be found in a model of this noise: the fault table's numbers stay the ceiling."""
        return max(self.at_most, min(NOISES * noise, self.ceiling)) if noise == noise else self.at_most

    def judged(self, value: float, limit: float | None = None) -> Status:
        """The status of a measured value."""
        if value <= (self.at_most if limit is None else limit):
            return Status.PASSED
        return Status.WARNED if value <= self.fault_above else Status.FAILED

    def _result(
        self,
        status: Status,
        started: float,
        value: float | None = None,
        where: str = "",
        detail: str = "",
        *,
        optional: bool = False,
        at_most: float | None = None,
    ) -> Result:
        if value is not None and math.isnan(value):
            detail = "; ".join(filter(None, ["nothing was compared", detail]))
        seconds = time.perf_counter() - started
        return Result(
            self.name,
            status,
            value,
            self.at_most if at_most is None else at_most,
            self.unit,
            self.because,
            where,
            detail,
            seconds,
            optional,
        )


def check(
    name: str,
    *,
    at_most: float,
    unit: str,
    because: str,
    fault_above: float = -math.inf,
    level: str = "quick",
    ceiling: float = -math.inf,
) -> Callable[[Callable[[S], Measurement]], Check[S]]:
    """Declares the measuring function under it; `llorch.verification.checks.CHECKS` finds what is declared."""

    def declare(measure: Callable[[S], Measurement]) -> Check[S]:
        return Check(name, float(at_most), fault_above, unit, because, level, measure, ceiling)

    return declare


def spread(things: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of some things, evenly spread over them, the first and the last among them."""
    count = len(things)
    if count <= most:
        return things
    return [things[round(at * (count - 1) / (most - 1))] for at in range(most)]


def worst(found: Iterable[tuple[float, str]]) -> Measurement:
    """The largest of (value, where); NaN is larger than anything, and the worst of nothing is NaN."""
    largest, place, compared = -math.inf, "", 0
    for value, where in found:
        compared += 1
        if math.isnan(value):
            return Measurement(math.nan, where)
        if value > largest:
            largest, place = value, where
    return Measurement(largest, place if largest > 0 else "") if compared else Measurement(math.nan)


def count(differences: Iterable[str], detail: str, *, compared: int) -> Measurement:
    """How many differences there are among `compared` things, of which none is NaN; `where` has the first."""
    found = list(differences)
    rest = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Measurement(len(found) if compared else math.nan, f"{found[0]}{rest}" if found else "", detail)
