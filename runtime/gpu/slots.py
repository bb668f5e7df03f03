"""Steps of models whose layers no kernel here knows as a whole: the decoder's own, recorded over a memory of its own.

A recurrence keeps its state, a latent attention its vectors, where the recorded operations found them. So such a step
belongs to a memory, which one request has at a time; several requests take turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.experts import FeedForward
from llorch.runtime.blocks.rope import rotation
from llorch.runtime.decoder import Decoder
from llorch.runtime.gpu.memory import StepCache, ropes
from llorch.runtime.gpu.recorded import RecordedStep, Step
from llorch.runtime.kernels.cuda import launch
from llorch.runtime.traits import Rope, Traits
from llorch.runtime.weights import Weights


def can_record(traits: Traits, weights: Weights) -> bool:
    """Whether the decoder's step of one token is the same operations every time, with nothing that the host decides."""
    of_host = (
        traits.temperature,
        traits.alibi,
        weights.positions,
        weights.layer_embeddings,
        weights.streams,
        weights.devices,
    )
    networks = all(layer.ffn is None or isinstance(layer.ffn, FeedForward) for layer in weights.layers)
    return networks and not any(of_host)


class Slot:
    """The memory of one request of at most so many positions, and the step over it."""

    def __init__(self, decoder: Decoder, capacity: int, device: torch.device) -> None:
        self.memory = Cache(decoder.traits, capacity, torch.float32, device)
        for tensor in self.memory.tensors():
            tensor.zero_()  # what is not seen is multiplied by 0, which makes no number of a NaN
        self.angles: dict[Rope, tuple[Tensor, Tensor]] = {}
        self.step = DecoderStep(decoder, self, device)
        self.recorded = RecordedStep(self.step)

    def begin(self, traits: Traits, planned: int) -> None:
        """Empties it for a request that may grow to so many positions."""
        self.memory.forget()
        for rope in ropes(traits):
            fresh = rotation(rope, range(self.memory.planned), planned, self.memory.storage)
            for table, values in zip(self.angles.setdefault(rope, fresh), fresh, strict=True):
                table.copy_(values)  # where the recorded step looks


class SlotCache(StepCache):
    """A request's cache in a slot. recording: whether its place is the slot's `position`, and not its length."""

    def __init__(self, slot: Slot, planned: int) -> None:
        self.planned = planned
        self.length = 0
        self.slot = slot
        self.recording = False
        self.share(slot.memory)

    @property
    def position(self) -> Tensor | None:
        """As of every cache."""
        return self.slot.step.position if self.recording else None

    def rotation(self, rope: Rope, places: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """As of every cache."""
        if not self.recording:
            return super().rotation(rope, places, like)
        cosines, sines = self.slot.angles[rope]
        return cosines[self.slot.step.position], sines[self.slot.step.position]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As of every cache; while it is recorded with all places, of which some are not filled."""
        if not self.recording:
            return super().extend(layer, k, v)
        keys, values = self.keys(layer)
        keys.index_copy_(1, self.slot.step.position, k)
        values.index_copy_(1, self.slot.step.position, v)
        return keys, values

    def extended_latents(self, layer: int, latents: Tensor) -> Tensor:
        """As `extended`."""
        if not self.recording:
            return super().extended_latents(layer, latents)
        return self.latents(layer).index_copy_(1, self.slot.step.position, latents)

    def read(self, layer: int, new: int) -> tuple[Tensor, Tensor]:
        """As `extended`."""
        if not self.recording:
            return super().read(layer, new)
        keys, values = self.keys(layer)
        return keys, values


class DecoderStep(Step):
    """The decoder's step of one token over a slot."""

    rows = 1

    def __init__(self, decoder: Decoder, slot: Slot, device: torch.device) -> None:
        self.decoder, self.device = decoder, device
        self.table = torch.zeros(2, 1, dtype=torch.int64, device=device)
        self.token, self.position = self.table
        self._slot = slot
        vocabulary = decoder.traits.vocabulary_size
        self.never = torch.zeros(1, vocabulary, device=self.device)
        self.logits = torch.empty(1, vocabulary, device=self.device)
        self._scratch = torch.empty(1, launch.TOP_PROGRAMS, device=self.device)

    def column(self, token: int, cache: StepCache) -> list[int]:
        """As of every step."""
        return [token, cache.length]

    def run(self) -> None:
        """As of every step."""
        cache = SlotCache(self._slot, self._slot.memory.planned)
        cache.recording = True
        hidden = self.decoder.hidden(self.token, cache)
        self.logits.copy_(self.decoder.logits(hidden))
        launch.most_probable(self.logits, self.never, self._scratch, self.token, self.position)
