"""Compare the logits of two readings: KL divergence, largest difference, changed top tokens. All in float64.

KL of a position: Σ_v P_v (ln P_v − ln Q_v) in nats, P and Q the softmax over the whole vocabulary, padding included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

VOCABULARY_TILE = 1 << 14  # columns converted to float64 at a time: a 262k vocabulary takes 2 MB per position


@dataclass(frozen=True, slots=True)
class Flip:
    """A position whose top token changed.

    margin: how much larger the reference's logit is for its own top token than for the tested one's.
    """

    position: int
    reference_token: int
    tested_token: int
    margin: float


@dataclass(frozen=True, slots=True)
class LogitsComparison:
    """Differences between logits over a number of positions.

    kl: nats per position; rounding may make it negative by 1e-16. difference: the largest difference of a logit after
    both rows are centred on their means, since a constant added to a row changes nothing. difference_at: its
    (position, token).
    """

    kl: NDArray[np.float64]
    difference: float
    difference_at: tuple[int, int]
    flips: tuple[Flip, ...]

    @classmethod
    def joined(cls, parts: Sequence[LogitsComparison]) -> LogitsComparison:
        """Combine the comparisons of consecutive positions; at least one."""
        starts = np.cumsum([0, *(part.positions for part in parts)]).tolist()
        worst = max(
            range(len(parts)), key=lambda at: (math.isnan(parts[at].difference), parts[at].difference)
        )
        position, token = parts[worst].difference_at
        flips = [
            replace(flip, position=start + flip.position)
            for start, part in zip(starts, parts, strict=False)
            for flip in part.flips
        ]
        return cls(
            np.concatenate([part.kl for part in parts]),
            parts[worst].difference,
            (starts[worst] + position, token),
            tuple(flips),
        )

    @property
    def positions(self) -> int:
        """Number of positions compared."""
        return len(self.kl)

    @property
    def kl_mean(self) -> float:
        """Mean over all positions."""
        return float(self.kl.mean())

    @property
    def kl_median(self) -> float:
        """Median over all positions."""
        return float(np.median(self.kl))

    @property
    def kl_99(self) -> float:
        """The 99th percentile over positions."""
        return float(np.quantile(self.kl, 0.99))

    @property
    def kl_max(self) -> float:
        """The largest of all positions."""
        return float(self.kl.max())

    @property
    def kl_max_at(self) -> int:
        """The position with the largest KL."""
        return int(self.kl.argmax())

    @property
    def agreement(self) -> float:
        """Fraction of positions with the same top token, ties by the lowest id."""
        return 1 - len(self.flips) / len(self.kl)

    @property
    def largest_margin(self) -> float:
        """The largest margin of all flips; 0 if there are none."""
        return max((flip.margin for flip in self.flips), default=0.0)


def compare_logits(reference: ArrayLike | Tensor, tested: ArrayLike | Tensor) -> LogitsComparison:
    """Compare logits, (positions, vocabulary) each, on the device they are on: one for both, with float64.

    ValueError if the shapes differ or are empty: a check that compared nothing must not pass.
    """
    p, q = _rows(reference), _rows(tested)
    if p.shape != q.shape or p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"logits of shapes {tuple(p.shape)} and {tuple(q.shape)} cannot be compared")
    p_norm, q_norm = log_sum_exp(p), log_sum_exp(q)
    kl, difference, at = torch.zeros_like(p_norm), -1.0, (0, 0)
    offset = q.mean(1, dtype=torch.float64) - p.mean(1, dtype=torch.float64)
    for start in range(0, p.shape[1], VOCABULARY_TILE):
        tile = slice(start, start + VOCABULARY_TILE)
        a, b = p[:, tile].double(), q[:, tile].double()
        log_p, log_q = a - p_norm[:, None], b - q_norm[:, None]
        kl += (log_p.exp() * (log_p - log_q)).sum(1)
        apart = (b - a - offset[:, None]).abs()
        largest = float(apart.max())
        if not largest <= difference:  # this way round, a NaN is found and stays
            position, token = divmod(int(apart.argmax()), apart.shape[1])
            difference, at = largest, (position, start + token)
    return LogitsComparison(kl.cpu().numpy(), difference, at, _flips(p, q))


def log_sum_exp(rows: Tensor) -> Tensor:
    """ln Σ exp of each row, in float64, computed tile by tile."""
    largest = rows.amax(1).double()
    total = torch.zeros_like(largest)
    for start in range(0, rows.shape[1], VOCABULARY_TILE):
        total += (rows[:, start : start + VOCABULARY_TILE].double() - largest[:, None]).exp().sum(1)
    return largest + total.log()


def _rows(logits: ArrayLike | Tensor) -> Tensor:
    return logits.float() if isinstance(logits, Tensor) else torch.tensor(np.asarray(logits, np.float32))


def _flips(p: Tensor, q: Tensor) -> tuple[Flip, ...]:
    tops = torch.stack([p.argmax(1), q.argmax(1)])
    by_p, margins = tops[0], p.gather(1, tops.T)
    at = (by_p != tops[1]).nonzero()[:, 0]
    rows = zip(at.tolist(), tops[:, at].T.tolist(), margins[at].tolist(), strict=True)
    return tuple(Flip(i, mine, theirs, best - other) for i, (mine, theirs), (best, other) in rows)
