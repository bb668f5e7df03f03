"""Keys and values of one request's positions."""

from __future__ import annotations

import torch
from torch import Tensor

from llorch.runtime.errors import ContextFull
from llorch.runtime.traits import Traits


class Cache:
    """Belongs to one request, from its first token to its last, and is never used again.

    planned: positions that the request may grow to; ContextFull, before anything is allocated, if the model
    has fewer. The memory is taken at once, so that no later step can fail for want of it.
    """

    def __init__(self, traits: Traits, planned: int, dtype: torch.dtype, device: torch.device) -> None:
        if planned > traits.n_ctx:
            raise ContextFull(planned, traits.n_ctx, "the request")
        shape = (traits.n_layers, 2, traits.kv_heads, planned, traits.head_dim)
        self.planned = planned
        self.length = 0
        self._stored = torch.empty(shape, dtype=dtype, device=device)

    @property
    def storage(self) -> Tensor:
        """Keys and values of every layer, (layers, 2, kv_heads, planned, head_dim), contiguous."""
        return self._stored

    def extended(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the new positions' keys and values, (kv_heads, new, head_dim), and gives all so far.

        Every layer of a step stores at the same place; `advance` ends the step.
        """
        stop = self.length + k.shape[1]
        keys, values = self._stored[layer]
        keys[:, self.length : stop] = k
        values[:, self.length : stop] = v
        return keys[:, :stop], values[:, :stop]

    def advance(self, new: int) -> None:
        """The step's positions are now part of the past."""
        self.length += new
