"""Logits of what ran through both readings: the output layer once for all sequences, some positions at a time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llorch.runtime import LogitsComparison, compare_logits
from llorch.verification.readings import Run

LOGITS_ROWS_BYTES = 64 << 20  # of a reading's logits at a time


@dataclass(frozen=True, slots=True)
class FinalStates:
    """One reading's sequences after the final norm, by name: (positions, hidden size) each."""

    run: Run
    sequences: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Pair:
    """A comparison by its name: two sequences, each as the index of its reading and its name there."""

    name: str
    reference: tuple[int, str]
    tested: tuple[int, str]


@dataclass(frozen=True, slots=True)
class SequenceComparison:
    """What came of the pairs, by their names.

    losses: mean negative log-likelihood of the text's tokens after the first by each reading, in nats; NaN where there
    is no second, empty where none was asked for.
    """

    pairs: Mapping[str, LogitsComparison]
    losses: tuple[float, ...]


def compare_sequences(
    readings: Sequence[FinalStates], pairs: Sequence[Pair], once: int = 0, text: str = "text"
) -> SequenceComparison:
    """Compares logits; of a sequence that is shorter than the other one, as many positions as it has.

    once: tokens of the sequence `text` whose losses are asked for.
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
    """Where a piece starts, and each reading's logits there, by sequence."""
    width = max(
        reading.run.model.vocabulary_size * 4 * max(1, len(reading.sequences)) for reading in readings
    )
    rows = max(1, LOGITS_ROWS_BYTES // width)
    longest = max(len(end) for reading in readings for end in reading.sequences.values())
    for start in range(0, longest, rows):
        yield start, [_logits(reading, slice(start, start + rows)) for reading in readings]


def _logits(reading: FinalStates, piece: slice) -> dict[str, Tensor]:
    """Of one reading's sequences that reach so far."""
    parts = {name: end[piece] for name, end in reading.sequences.items() if len(end) > piece.start}
    if not parts:
        return {}
    logits = reading.run.logits(torch.cat(list(parts.values())))
    return dict(zip(parts, torch.split(logits, [len(part) for part in parts.values()]), strict=True))


def _loss(logits: Tensor, following: Sequence[int]) -> float:
    targets = torch.tensor(following[: len(logits)], device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits.double(), targets, reduction="sum"))
