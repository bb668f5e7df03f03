"""Recorded steps for models without fused kernels: the decoder's own operations, over fixed memory (a slot).

The recorded operations read and write recurrent states and latent vectors at fixed addresses. So each slot has its own
memory and its own graph, and is used by one request at a time.
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
    """Whether the decoder runs the same operations for every token, with no decision on the host."""
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
    """Memory for one request of at most `capacity` positions, and the recorded step over it."""

    def __init__(self, decoder: Decoder, capacity: int, device: torch.device) -> None:
        self.memory = Cache(decoder.traits, capacity, torch.float32, device)
        for tensor in self.memory.tensors():
            tensor.zero_()  # masked positions are multiplied by 0, and 0 · NaN would be NaN
        self.angles: dict[Rope, tuple[Tensor, Tensor]] = {}
        self.step = DecoderStep(decoder, self, device)
        self.recorded = RecordedStep(self.step)

    def begin(self, traits: Traits, planned: int) -> None:
        """Reset it for a request of at most `planned` positions."""
        self.memory.forget()
        for rope in ropes(traits):
            fresh = rotation(rope, range(self.memory.planned), planned, self.memory.storage)
            for table, values in zip(self.angles.setdefault(rope, fresh), fresh, strict=True):
                table.copy_(values)  # at the addresses that the recorded step reads


class SlotCache(StepCache):
    """The cache of a request in a slot. recording: whether its position is the slot's tensor, not `length`."""

    def __init__(self, slot: Slot, planned: int) -> None:
        self.planned = planned
        self.length = 0
        self.slot = slot
        self.recording = False
        self.share(slot.memory)

    @property
    def position(self) -> Tensor | None:
        """See `Cache`."""
        return self.slot.step.position if self.recording else None

    def rotation(self, rope: Rope, positions: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cache`."""
        if not self.recording:
            return super().rotation(rope, positions, like)
        cosines, sines = self.slot.angles[rope]
        return cosines[self.slot.step.position], sines[self.slot.step.position]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cache.extend`; while recording, returns all positions, including those not filled yet."""
        if not self.recording:
            return super().extend(layer, k, v)
        keys, values = self.keys(layer)
        keys.index_copy_(1, self.slot.step.position, k)
        values.index_copy_(1, self.slot.step.position, v)
        return keys, values

    def extended_latents(self, layer: int, latents: Tensor) -> Tensor:
        """See `extend`."""
        if not self.recording:
            return super().extended_latents(layer, latents)
        return self.latents(layer).index_copy_(1, self.slot.step.position, latents)

    def read(self, layer: int, new: int) -> tuple[Tensor, Tensor]:
        """See `extend`."""
        if not self.recording:
            return super().read(layer, new)
        keys, values = self.keys(layer)
        return keys, values


class DecoderStep(Step):
    """The decoder's step for one token over a slot."""

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
        """See `Step`."""
        return [token, cache.length]

    def run(self) -> None:
        """See `Step`."""
        cache = SlotCache(self._slot, self._slot.memory.planned)
        cache.recording = True
        hidden = self.decoder.hidden(self.token, cache)
        self.logits.copy_(self.decoder.logits(hidden))
        launch.most_probable(self.logits, self.never, self._scratch, self.token, self.position)
