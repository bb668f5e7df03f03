"""A request's cache in a GPU's memory, and how a recorded launch finds it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llorch.runtime.blocks.cache import Cache
from llorch.runtime.traits import Rope, Traits


class StepCache(Cache):
    """The cache of a request whose steps are recorded. table: what a step that another one took over knew of it."""

    table: Tensor | None = None


class GpuCache(StepCache):
    """A request's cache, with room for at least the positions that it is planned for.

    stored: (layers, 2, kv_heads, capacity, head_dim) float32. angles: cosines and sines of the positions, (2, capacity,
    n_rot / 2), by rotary embedding.
    """

    def __init__(self, stored: Tensor, angles: Mapping[Rope, Tensor], planned: int) -> None:
        self.planned = planned
        self.length = 0
        self.capacity = stored.shape[3]
        self.angles = angles
        self._stored = stored
        self._keys = dict(enumerate(stored))
        self._latents = {}
        self._states = {}

    def offsets(self, place: Tensor, ropes: Sequence[Rope]) -> list[int]:
        """How many numbers from a place on the cache begins, and the angles of each embedding."""
        found = [self._stored, *(self.angles[rope] for rope in ropes)]
        return [(tensor.data_ptr() - place.data_ptr()) // place.itemsize for tensor in found]


def ropes(traits: Traits) -> list[Rope]:
    """A model's rotary embeddings, each once, in order."""
    return [rope for rope in dict.fromkeys(traits.ropes) if rope is not None]


def no_place(device: torch.device) -> Tensor:
    """A place in a device's memory from which on others are found; nothing is kept there."""
    return torch.empty(1, device=device)
