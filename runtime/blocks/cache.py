"""The cache of one request: keys and values, latent vectors, or recurrent states of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llorch.runtime.blocks.rope import rotation
from llorch.runtime.errors import ContextFull
from llorch.runtime.traits import (
    DeltaNet,
    Heads,
    Latent,
    Mamba,
    Mamba2,
    Rope,
    ShortConv,
    SingleMixer,
    Traits,
    parts,
)


class Cache:
    """The cache of one request, from its first token to its last; never reused for another.

    planned: most positions of the request; ContextFull, before anything is allocated, if the model has fewer. All
    memory is allocated at once, so that no later step can run out of it. devices: of each layer, if there are several.
    """

    def __init__(
        self,
        traits: Traits,
        planned: int,
        dtype: torch.dtype,
        device: torch.device,
        devices: Sequence[torch.device] = (),
    ) -> None:
        if planned > traits.n_ctx:
            raise ContextFull(planned, traits.n_ctx, "the request")
        self.planned = planned
        self.length = 0
        self._layers = traits.n_layers
        self._stored = torch.empty(0, dtype=dtype, device=device)
        self._keys: dict[int, tuple[Tensor, Tensor]] = {}
        self._latents: dict[int, Tensor] = {}
        self._states: dict[int, tuple[Tensor, ...]] = {}
        if not traits.mixers and not traits.keys_from and not devices:
            # all layers alike: one contiguous tensor, which kernels take as a whole
            shape = (traits.n_layers, 2, traits.kv_heads, planned, traits.head_dim)
            self._stored = torch.empty(shape, dtype=dtype, device=device)
            self._keys = {layer: (keys, values) for layer, (keys, values) in enumerate(self._stored)}
            return
        for layer in range(traits.n_layers):
            layer_device = devices[layer] if devices else device
            for mixer in parts(traits.mixer(layer)):
                if not isinstance(mixer, Heads) or traits.keys_of(layer) == layer:
                    self._allocate(layer, mixer, dtype, layer_device)

    def _allocate(self, layer: int, mixer: SingleMixer, dtype: torch.dtype, device: torch.device) -> None:
        match mixer:
            case Heads():
                rows, shape = mixer.kv_heads * self.planned, (mixer.kv_heads, self.planned, -1)
                both = torch.empty(rows * (mixer.head_dim + mixer.value_width), dtype=dtype, device=device)
                keys, values = both[: rows * mixer.head_dim], both[rows * mixer.head_dim :]
                self._keys[layer] = keys.view(shape), values.view(shape)
            case Latent():
                width = mixer.rank + mixer.rope
                self._latents[layer] = torch.empty((1, self.planned, width), dtype=dtype, device=device)
            case DeltaNet() | Mamba2() | Mamba() | ShortConv():
                shapes = mixer.state_shapes
                self._states[layer] = tuple(torch.zeros(s, dtype=dtype, device=device) for s in shapes)

    @property
    def position(self) -> Tensor | None:
        """Position of the one new token, if only the device knows it (in a CUDA graph); None if `length` says it."""
        return None

    def rotation(self, rope: Rope, positions: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for the new positions, (positions, n_rot / 2) each."""
        return rotation(rope, positions, self.planned, like)

    def share(self, memory: Cache) -> None:
        """Use the memory of another cache for keys, values, latents and states."""
        self._layers, self._stored, self._keys = memory._layers, memory._stored, memory._keys
        self._latents, self._states = memory._latents, memory._states

    def forget(self) -> None:
        """Zero the recurrent states; keys and latent vectors need no reset, `length` says how many are valid."""
        for state in self._states.values():
            for memory in state:
                memory.zero_()

    def keys(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's memory for keys and for values, (kv_heads, planned, width) each; values follow keys in memory."""
        return self._keys[layer]

    def latents(self, layer: int) -> Tensor:
        """A layer's memory for latent vectors, (1, planned, width)."""
        return self._latents[layer]

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of the cache."""
        yield from chain.from_iterable(self._keys.values())
        yield from self._latents.values()
        for state in self._states.values():
            yield from state

    @cached_property
    def addresses(self) -> NDArray[np.int64]:
        """Addresses for kernels, (layers, 2): of the keys, which the values follow; the latents; or the states."""
        found = np.zeros((self._layers, 2), np.int64)
        keys = {layer: keys for layer, (keys, _) in self._keys.items()}
        for layer, kept in (*keys.items(), *self._latents.items()):
            found[layer, 0] = kept.data_ptr()
        for layer, state in self._states.items():
            found[layer, : len(state)] = [memory.data_ptr() for memory in state]
        return found

    @property
    def storage(self) -> Tensor:
        """Keys and values of every layer, (layers, 2, kv_heads, planned, head_dim), contiguous.

        Empty if layers differ: then only the decoder reads the cache.
        """
        return self._stored

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append the new positions' keys and values, (kv_heads, new, head_dim); return all so far.

        All layers of a step write at the same positions; `advance` ends the step.
        """
        stop = self.length + k.shape[1]
        keys, values = self._keys[layer]
        keys[:, self.length : stop] = k
        values[:, self.length : stop] = v
        return keys[:, :stop], values[:, :stop]

    def extended_latents(self, layer: int, latents: Tensor) -> Tensor:
        """Append the new positions' latent vectors, (1, new, width); return all so far."""
        stop = self.length + latents.shape[1]
        self._latents[layer][:, self.length : stop] = latents
        return self._latents[layer][:, :stop]

    def read(self, layer: int, new: int) -> tuple[Tensor, Tensor]:
        """Keys and values that another layer stored: the `new` ones of this step, and all before."""
        keys, values = self._keys[layer]
        return keys[:, : self.length + new], values[:, : self.length + new]

    def state(self, layer: int) -> tuple[Tensor, ...]:
        """A recurrence's state tensors, updated in place; zeros at first."""
        return self._states[layer]

    def advance(self, new: int) -> None:
        """End a step: count its positions as cached."""
        self.length += new
