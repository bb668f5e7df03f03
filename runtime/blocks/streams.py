"""Alternating updates (AltUp): several hidden states per position, of which a layer computes one; and LAuReL.

The states of a position are concatenated in one row, so that a layer's input and output are rows as in any other model.
Sources: transformers, models/gemma3n, `Gemma3nTextAltUp` and `Gemma3nTextLaurelBlock`; llama.cpp,
src/models/gemma3n.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.traits import Streams

SMALLEST_MEAN = 1e-5  # lower bound of the mean of squares in transformers; llama.cpp has none


@dataclass(frozen=True, slots=True)
class Bypass:
    """LAuReL, a low-rank bypass in parallel with attention: x + norm(up(down x))."""

    down: Linear
    up: Linear
    norm: Norm

    def __call__(self, x: Tensor) -> Tensor:
        """x: (positions, hidden) → the same shape."""
        return x + self.norm(self.up(self.down(x)))

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from (self.down, self.up)


@dataclass(frozen=True, slots=True)
class AlternatingUpdates:
    """How a layer predicts all states from the active one, and corrects them by what it computed.

    router: to one value per state; its input is normed and divided by its width. predict: to one value per pair of
    states. correct: to one per state. scale: (hidden,), factor on the active state where a layer's embedding is mixed
    in.
    """

    shape: Streams
    norm: Norm
    router: Linear
    predict: Linear
    correct: Linear
    scale: Tensor

    def predict_states(self, x: Tensor) -> Tensor:
        """Predict every state, (states, positions, hidden), from the states before the layer."""
        mixed = self.predict(self._modalities(x[self.shape.active]))
        mixed = mixed.view(len(mixed), self.shape.count, self.shape.count)  # (positions, to, from)
        return x + torch.einsum("ptf,fph->tph", mixed, x)

    def correct_states(self, predicted: Tensor, activated: Tensor) -> Tensor:
        """Correct every state, (states, positions, hidden), by a share of the active state's prediction error."""
        share = self.correct(self._modalities(activated)) + 1.0
        return predicted + share.T[:, :, None] * (activated - predicted[self.shape.active])

    def _modalities(self, active: Tensor) -> Tensor:
        return torch.tanh(self.router(self.norm(active) / active.shape[-1]))

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from (self.router, self.predict, self.correct)


@dataclass(frozen=True, slots=True)
class StreamProjections:
    """The projections from the first state to all of them before the layers, and back to one after them.

    apart, together: a projection for each state but the first.
    """

    shape: Streams
    apart: Sequence[Linear]
    together: Sequence[Linear]

    def expand(self, x: Tensor) -> Tensor:
        """(positions, hidden) → (positions, states · hidden), each state with the first one's RMS."""
        return torch.cat([x, *(_as_large(linear(x), x) for linear in self.apart)], dim=-1)

    def merge(self, rows: Tensor) -> Tensor:
        """(positions, states · hidden) → the mean of all projected states, (positions, hidden)."""
        first, *others = rows.chunk(self.shape.count, dim=-1)
        back = [_as_large(linear(x), first) for linear, x in zip(self.together, others, strict=True)]
        return torch.stack([first, *back]).mean(dim=0)

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from (*self.apart, *self.together)


def _as_large(x: Tensor, model: Tensor) -> Tensor:
    """Scale x to the RMS of `model`."""
    own = x.square().mean(-1, keepdim=True).clamp(min=SMALLEST_MEAN).sqrt()
    return x * (model.square().mean(-1, keepdim=True).sqrt() / own)
