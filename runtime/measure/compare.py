"""How far two readings' logits are apart: KL divergence, the largest difference, changed top tokens. All in float64.

KL of a position: Σ_v P_v (ln P_v − ln Q_v) in nats, P and Q the softmax of the whole vocabulary, padding included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

VOCABULARY_TILE = 1 << 14  # tokens at a time: a 262k vocabulary in float64 is 2 MB a position

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Flip:
    """A position whose top token changed.

    margin: by how much the reference prefers its own top token to the tested one's, in logits.
    """

    position: int
    reference_token: int
    tested_token: int
    margin: float


@dataclass(frozen=True, slots=True)
class LogitsComparison:
    """What differs over some positions.

    kl: nats, one a position; rounding may make it negative by 1e-16. difference: the largest of a logit after
    both rows are centred on their means, since a constant added to a row changes nothing. difference_at: its
    (position, token).
    """

    kl: NDArray[np.float64]
    difference: float
    difference_at: tuple[int, int]
    flips: tuple[Flip, ...]

    @classmethod
    def joined(cls, parts: Sequence[LogitsComparison]) -> LogitsComparison:
        """The comparison of consecutive positions that were compared in pieces, at least one."""
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
        """How many were compared."""
        return len(self.kl)

    @property
    def kl_mean(self) -> float:
        """Over all positions."""
        return float(self.kl.mean())

    @property
    def kl_median(self) -> float:
        """Over all positions."""
        return float(np.median(self.kl))

    @property
    def kl_99(self) -> float:
        """The quantile that 99 % of positions do not exceed."""
        return float(np.quantile(self.kl, 0.99))

    @property
    def kl_max(self) -> float:
        """The worst position's."""
        return float(self.kl.max())

    @property
    def kl_max_at(self) -> int:
        """The worst position."""
        return int(self.kl.argmax())

    @property
    def agreement(self) -> float:
        """Share of positions with the same top token, the lowest id among equals."""
        return 1 - len(self.flips) / len(self.kl)

    @property
    def largest_margin(self) -> float:
        """Of all flips; 0 where there is none."""
        return max((flip.margin for flip in self.flips), default=0.0)


def compare_logits(reference: ArrayLike, tested: ArrayLike) -> LogitsComparison:
    """Compares logits, (positions, vocabulary) each.

    ValueError for shapes that differ, or where there is nothing to compare: a check of nothing has not passed.
    """
    p, q = np.asarray(reference, np.float32), np.asarray(tested, np.float32)
    if p.shape != q.shape or p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"logits of shapes {p.shape} and {q.shape} cannot be compared")
    p_norm, q_norm = log_sum_exp(p), log_sum_exp(q)
    kl, difference, at = np.zeros(len(p)), -1.0, (0, 0)
    offset = q.mean(1, dtype=np.float64) - p.mean(1, dtype=np.float64)
    for start in range(0, p.shape[1], VOCABULARY_TILE):
        tile = slice(start, start + VOCABULARY_TILE)
        a, b = p[:, tile].astype(np.float64), q[:, tile].astype(np.float64)
        log_p, log_q = a - p_norm[:, None], b - q_norm[:, None]
        kl += (np.exp(log_p) * (log_p - log_q)).sum(1)
        apart = np.abs(b - a - offset[:, None])
        if not apart.max() <= difference:  # so that a NaN is found and stays
            position, token = np.unravel_index(int(apart.argmax()), apart.shape)
            difference, at = float(apart.max()), (int(position), start + int(token))
    return LogitsComparison(kl, difference, at, _flips(p, q))


def log_sum_exp(rows: Rows) -> NDArray[np.float64]:
    """ln Σ exp of every row, in float64, tile by tile."""
    largest: NDArray[np.float64] = rows.max(1).astype(np.float64)
    total = np.zeros(len(rows))
    for start in range(0, rows.shape[1], VOCABULARY_TILE):
        total += np.exp(rows[:, start : start + VOCABULARY_TILE].astype(np.float64) - largest[:, None]).sum(1)
    return largest + np.log(total)


def _flips(p: Rows, q: Rows) -> tuple[Flip, ...]:
    top_p, top_q = p.argmax(1), q.argmax(1)
    return tuple(
        Flip(int(i), int(top_p[i]), int(top_q[i]), float(p[i, top_p[i]]) - float(p[i, top_q[i]]))
        for i in np.flatnonzero(top_p != top_q)
    )
