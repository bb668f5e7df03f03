"""Sampling of the next token: filters in a fixed order, and randomness that depends on seed and step only.

The order is transformers': penalties, temperature, top-k, top-p, min-p. All of it is float64 over (logit, id), so that
neither the batch, the number of threads nor earlier requests change a choice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llorch.runtime.errors import RequestError

Logits = NDArray[np.float64]

FIRST = 4096  # most probable tokens that are sorted first; the whole vocabulary only if they are not enough


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is sampled. Raises RequestError for a value out of range.

    temperature: 0 takes the largest logit, the lowest id among equals; the filters then change nothing.
    top_k: keeps this many largest logits; 0 keeps all. top_p: keeps the fewest tokens whose probabilities reach it.
    min_p: keeps tokens with at least this fraction of the largest probability.
    repetition_penalty: divides the positive logits and multiplies the negative ones of tokens already there.
    presence_penalty, frequency_penalty: subtracted afterwards from the logit of each new token, once and once per
        occurrence; the prompt does not count.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    @property
    def has_penalties(self) -> bool:
        """Whether a choice depends on earlier tokens: whether a penalty is set."""
        return self.repetition_penalty != 1 or bool(self.presence_penalty or self.frequency_penalty)

    @property
    def has_filters(self) -> bool:
        """Whether some tokens are excluded: by top-k, top-p or min-p."""
        return bool(self.top_k) or self.top_p < 1 or self.min_p > 0

    def __post_init__(self) -> None:
        expected = {
            "temperature": (
                math.isfinite(self.temperature) and self.temperature >= 0,
                "a number of at least 0",
            ),
            "top_k": (self.top_k >= 0, "at least 0"),
            "top_p": (0 < self.top_p <= 1, "more than 0 and at most 1"),
            "min_p": (0 <= self.min_p <= 1, "from 0 to 1"),
            "presence_penalty": (math.isfinite(self.presence_penalty), "a number"),
            "frequency_penalty": (math.isfinite(self.frequency_penalty), "a number"),
            "repetition_penalty": (0 < self.repetition_penalty < math.inf, "a positive number"),
        }
        for name, (holds, what) in expected.items():
            if not holds:
                raise RequestError(f"{name} is {getattr(self, name)}, expected {what}")


@dataclass(frozen=True, slots=True)
class Choice:
    """How to sample a token when nothing but its logits decides.

    step: number of new tokens before it. never: ids that are excluded.
    """

    sampling: Sampling
    step: int = 0
    never: Sequence[int] = ()


def sample_token(logits: NDArray[np.float32], seen: Sequence[int], step: int, sampling: Sampling) -> int:
    """The id of the next token. logits: (vocabulary,). seen: prompt and new tokens. step: new tokens so far."""
    scores = penalize(logits.astype(np.float64), seen, sampling.repetition_penalty)
    scores = penalize_counts(scores, seen[len(seen) - step :], sampling)
    if sampling.temperature == 0:
        return int(np.argmax(scores))  # the first of equal maxima, which torch's does not promise
    # subtract the maximum first: dividing by a small temperature then underflows to 0 instead of overflowing
    return _draw((scores - scores.max()) / sampling.temperature, sampling, uniform(sampling.seed, step))


def penalize(logits: Logits, seen: Sequence[int], penalty: float) -> Logits:
    """Apply the repetition penalty to the logits of tokens already seen, once per distinct token, in place."""
    if penalty != 1:
        ids = np.unique(np.asarray(seen, np.int64))
        logits[ids] = np.where(logits[ids] > 0, logits[ids] / penalty, logits[ids] * penalty)
    return logits


def penalize_counts(scores: Logits, new: Sequence[int], sampling: Sampling) -> Logits:
    """Apply OpenAI's presence and frequency penalties to the logits of tokens already generated, in place."""
    if new and (sampling.presence_penalty or sampling.frequency_penalty):
        ids, counts = np.unique(np.asarray(new, np.int64), return_counts=True)
        scores[ids] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    return scores


def _draw(scores: Logits, sampling: Sampling, share: float) -> int:
    """Sample by inverse CDF: the id at fraction `share` of the total weight. scores: at most 0, the largest is 0."""
    if not sampling.has_filters:
        ids = rank(scores, FIRST)
        cumulative, wanted = np.cumsum(np.exp(scores[ids])), share * np.exp(scores).sum()
        if wanted < cumulative[-1]:
            return int(ids[np.searchsorted(cumulative, wanted, side="right")])
    ids, weights = filter_scores(scores, sampling)
    cumulative = np.cumsum(weights)
    place = np.searchsorted(cumulative, share * cumulative[-1], side="right")
    return int(ids[min(int(place), len(ids) - 1)])


def rank(scores: Logits, count: int) -> NDArray[np.int64]:
    """The ids of the `count` largest scores by falling score, equal ones by rising id."""
    if count >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    ids = np.flatnonzero(scores >= least)
    return ids[np.argsort(-scores[ids], kind="stable")][:count]


def filter_scores(scores: Logits, sampling: Sampling) -> tuple[NDArray[np.int64], Logits]:
    """The ids that may be sampled, by falling score and ties by rising id, and their weights.

    Sorts only as much of the vocabulary as needed: the kept tokens are nearly always among the first few thousand.
    """
    for count in (FIRST, len(scores)):
        ids = rank(scores, sampling.top_k or count)
        whole = bool(sampling.top_k) or len(ids) == len(scores)
        weights = np.exp(scores[ids] - scores[ids[0]])
        total = weights.sum() if whole else np.exp(scores - scores[ids[0]]).sum()
        stays = len(ids)
        if sampling.top_p < 1:
            stays = int(np.count_nonzero(np.cumsum(weights) - weights < sampling.top_p * total))
        stays = min(stays, int(np.count_nonzero(weights >= sampling.min_p * weights[0])))
        if whole or stays < len(ids):
            break
    return ids[:stays], weights[:stays]


def uniform(seed: int, step: int) -> float:
    """A number in [0, 1) for this seed and step, from BLAKE2b: 53 bits, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2.0**53
