"""A check: a function that measures something, with a declaration of the limit and the reason for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from llorch.base.errors import InputError
from llorch.verification.report import Result, Status

T = TypeVar("T")
S = TypeVar("S")  # the subject: a folder with its source, or a model alone

LEVELS = ("quick", "full")
NOISES = 20  # a limit is raised to this multiple of a model's noise, which is measured at few positions and long-tailed


class CannotCheck(Exception):
    """Something that a check needs is missing: the check is skipped, with this as the reason.

    optional: whether a verification is complete without it, as for a claim the folder doesn't make, or a missing extra.
    """

    def __init__(self, reason: str, *, optional: bool = False) -> None:
        super().__init__(reason)
        self.optional = optional


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a check measured: the number that is compared with the limit, where it is worst, and what was compared.

    noise: the same number between two correct computations of this model, if that was measured.
    """

    value: float
    where: str = ""
    detail: str = ""
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """A check's declaration and the function that measures.

    at_most: the limit of what `measure` returns; NaN is never within it. fault_above: if higher than the limit, values
    between the two are a warning. ceiling: the highest value that the limit is raised to for a model whose noise times
    `NOISES` is above `at_most`. level: the lowest level at which it runs. because: the reason for the limit, for a
    reader of a failure.
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
        """Run the check on a subject and return its result."""
        started = time.perf_counter()
        try:
            found = self.measure(subject)
        except CannotCheck as reason:
            return self._result(Status.SKIPPED, started, detail=str(reason), optional=reason.optional)
        except InputError as error:
            return self._result(Status.ERROR, started, detail=str(error))
        except Exception as error:  # noqa: BLE001  # any error of a check must be reported as its result
            return self._result(Status.ERROR, started, detail=f"{type(error).__name__}: {error}")
        limit = self.limit(found.noise)
        status = self.judged(found.value, limit)
        return self._result(status, started, float(found.value), found.where, found.detail, at_most=limit)

    def limit(self, noise: float = 0.0) -> float:
        """Return the limit for a model with this noise, at most `ceiling`; `at_most` if the noise is NaN."""
        return max(self.at_most, min(NOISES * noise, self.ceiling)) if noise == noise else self.at_most

    def judged(self, value: float, limit: float | None = None) -> Status:
        """Return the status of a measured value. limit: by default `at_most`."""
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
    """Declare a function as a check; `llorch.verification.checks.CHECKS` collects those that are declared."""

    def declare(measure: Callable[[S], Measurement]) -> Check[S]:
        return Check(name, float(at_most), fault_above, unit, because, level, measure, ceiling)

    return declare


def spread(things: Sequence[T], most: int) -> Sequence[T]:
    """Return at most `most` (≥ 2) of `things`, evenly spread, including the first and the last."""
    count = len(things)
    if count <= most:
        return things
    return [things[round(at * (count - 1) / (most - 1))] for at in range(most)]


def worst(found: Iterable[tuple[float, str]]) -> Measurement:
    """Return the largest of (value, where); NaN counts as larger than anything, and the result for none is NaN."""
    largest, place, compared = -math.inf, "", 0
    for value, where in found:
        compared += 1
        if math.isnan(value):
            return Measurement(math.nan, where)
        if value > largest:
            largest, place = value, where
    return Measurement(largest, place if largest > 0 else "") if compared else Measurement(math.nan)


def count(differences: Iterable[str], detail: str, *, compared: int) -> Measurement:
    """Return the number of differences, with the first in `where`; NaN if `compared`, the number of things, is 0."""
    found = list(differences)
    rest = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Measurement(len(found) if compared else math.nan, f"{found[0]}{rest}" if found else "", detail)
