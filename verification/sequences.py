"""Comparison of logits of several sequences: the output layer is run once for all, some positions at a time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llorch.runtime import LogitsComparison, compare_logits
from llorch.verification.readings import Run

LOGITS_ROWS_BYTES = 64 << 20  # most bytes of a reading's logits at a time


@dataclass(frozen=True, slots=True)
class FinalStates:
    """One reading's sequences after the final norm, by name: (positions, hidden size) each."""

    run: Run
    sequences: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Pair:
    """A named comparison of two sequences, each given as (index of the reading, name of the sequence)."""

    name: str
    reference: tuple[int, str]
    tested: tuple[int, str]


@dataclass(frozen=True, slots=True)
class SequenceComparison:
    """The results of comparisons, by name.

    losses: each reading's mean negative log-likelihood of the text's tokens after the first, in nats; NaN if there is
    no second token, empty if not requested.
    """

    pairs: Mapping[str, LogitsComparison]
    losses: tuple[float, ...]


def compare_sequences(
    readings: Sequence[FinalStates], pairs: Sequence[Pair], once: int = 0, text: str = "text"
) -> SequenceComparison:
    """Compare the logits of pairs of sequences, up to the length of the shorter one.

    once: number of tokens of the sequence `text` to compute losses for; 0 for none.
    """
    found = defaultdict[str, list[LogitsComparison]](list)
    last = min(once, len(readings[0].sequences[text])) - 1
    losses = [0.0] * len(readings) if once else []
    for start, logits in _pieces(readings):
        for pair in pairs:
            one, other = (logits[index].get(name) for index, name in (pair.reference, pair.tested))
            if one is not None and other is not None:
                size = min(len(one), len(other))
                found[pair.name].append(compare_logits(one[:size], other[:size]))
        for index in range(len(losses)):
            if start < last:
                scored = logits[index][text][: last - start]
                losses[index] += _loss(scored, readings[index].run.ids[start + 1 :])
    means = tuple(total / last if last > 0 else math.nan for total in losses)
    return SequenceComparison({name: LogitsComparison.joined(parts) for name, parts in found.items()}, means)


def _pieces(readings: Sequence[FinalStates]) -> Iterator[tuple[int, list[dict[str, Tensor]]]]:
    """Yield (start of a piece, for each reading the logits of its sequences by name)."""
    width = max(
        reading.run.model.vocabulary_size * 4 * max(1, len(reading.sequences)) for reading in readings
    )
    rows = max(1, LOGITS_ROWS_BYTES // width)
    longest = max(len(end) for reading in readings for end in reading.sequences.values())
    for start in range(0, longest, rows):
        yield start, [_logits(reading, slice(start, start + rows)) for reading in readings]


def _logits(reading: FinalStates, piece: slice) -> dict[str, Tensor]:
    """Return the logits of a piece, by name, of the sequences that are long enough."""
    parts = {name: end[piece] for name, end in reading.sequences.items() if len(end) > piece.start}
    if not parts:
        return {}
    logits = reading.run.logits(torch.cat(list(parts.values())))
    return dict(zip(parts, torch.split(logits, [len(part) for part in parts.values()]), strict=True))


def _loss(logits: Tensor, following: Sequence[int]) -> float:
    targets = torch.tensor(following[: len(logits)], device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits.double(), targets, reduction="sum"))
