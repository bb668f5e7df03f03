"""KV caches in GPU memory, and their offsets for recorded launches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.traits import Rope, Traits


class StepCache(Cache):
    """A cache for recorded steps. table: the state of its step, saved while another request uses that step."""

    table: Tensor | None = None


class GpuCache(StepCache):
    """The KV cache of one request, with a capacity of at least its planned positions.

    stored: (layers, 2, kv_heads, capacity, head_dim) float32. angles: for each rotary embedding the cosines and sines
    of all positions, (2, capacity, n_rot / 2).
    """

    def __init__(self, stored: Tensor, angles: Mapping[Rope, Tensor], planned: int) -> None:
        self.planned = planned
        self.length = 0
        self.capacity = stored.shape[3]
        self.angles = angles
        self._stored = stored
        self._keys = {layer: (keys, values) for layer, (keys, values) in enumerate(stored)}
        self._latents = {}
        self._states = {}

    def offsets(self, place: Tensor, ropes: Sequence[Rope]) -> list[int]:
        """Distances, in elements, from a tensor to this cache and to the angles of each embedding."""
        found = [self._stored, *(self.angles[rope] for rope in ropes)]
        return [(tensor.data_ptr() - place.data_ptr()) // place.itemsize for tensor in found]


def ropes(traits: Traits) -> list[Rope]:
    """The distinct rotary embeddings of a model, in order."""
    return [rope for rope in dict.fromkeys(traits.ropes) if rope is not None]


def no_place(device: torch.device) -> Tensor:
    """A tensor to measure offsets from; its contents are unused."""
    return torch.empty(1, device=device)
