"""What one request keeps of its past: keys and values of positions, latent vectors, or the state of a recurrence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

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
    """Belongs to one request, from its first token to its last, and is never used again.

    planned: positions that the request may grow to; ContextFull, before anything is allocated, if the model
    has fewer. The memory is taken at once, so that no later step can fail for want of it. devices: of the layers,
    where they are not all on one.
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
        self._keys: dict[int, Tensor] = {}
        self._latents: dict[int, Tensor] = {}
        self._states: dict[int, tuple[Tensor, ...]] = {}
        if not traits.mixers and not traits.keys_from and not devices:
            # all layers alike: one piece of memory, which kernels take as a whole
            shape = (traits.n_layers, 2, traits.kv_heads, planned, traits.head_dim)
            self._stored = torch.empty(shape, dtype=dtype, device=device)
            self._keys = dict(enumerate(self._stored))
            return
        for layer in range(traits.n_layers):
            place = devices[layer] if devices else device
            for mixer in parts(traits.mixer(layer)):
                if not isinstance(mixer, Heads) or traits.keys_of(layer) == layer:
                    self._allocate(layer, mixer, dtype, place)

    def _allocate(self, layer: int, mixer: SingleMixer, dtype: torch.dtype, device: torch.device) -> None:
        match mixer:
            case Heads():
                shape = (2, mixer.kv_heads, self.planned, mixer.head_dim)
                self._keys[layer] = torch.empty(shape, dtype=dtype, device=device)
            case Latent():
                width = mixer.rank + mixer.rope
                self._latents[layer] = torch.empty((1, self.planned, width), dtype=dtype, device=device)
            case DeltaNet() | Mamba2() | Mamba() | ShortConv():
                shapes = mixer.state_shapes
                self._states[layer] = tuple(torch.zeros(s, dtype=dtype, device=device) for s in shapes)

    @property
    def position(self) -> Tensor | None:
        """Of the one new token, where it is only known on the device; None where `length` says it."""
        return None

    def rotation(self, rope: Rope, places: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the new positions, (positions, n_rot / 2) each."""
        return rotation(rope, places, self.planned, like)

    def share(self, memory: Cache) -> None:
        """Keeps what it keeps in the memory of another one."""
        self._layers, self._stored, self._keys = memory._layers, memory._stored, memory._keys
        self._latents, self._states = memory._latents, memory._states

    def forget(self) -> None:
        """Makes the states of recurrences those of no past; of keys and latent vectors only a length tells."""
        for state in self._states.values():
            for memory in state:
                memory.zero_()

    def keys(self, layer: int) -> Tensor:
        """Memory for a layer's keys and values, (2, kv_heads, planned, head_dim)."""
        return self._keys[layer]

    def latents(self, layer: int) -> Tensor:
        """Memory for a layer's latent vectors, (1, planned, width)."""
        return self._latents[layer]

    def tensors(self) -> Iterator[Tensor]:
        """All that is kept."""
        yield from self._keys.values()
        yield from self._latents.values()
        for state in self._states.values():
            yield from state

    @cached_property
    def addresses(self) -> NDArray[np.int64]:
        """(layers, 2): where a layer's keys begin, its values behind them; its latents; or a recurrence's memories."""
        found = np.zeros((self._layers, 2), np.int64)
        for layer, kept in (*self._keys.items(), *self._latents.items()):
            found[layer, 0] = kept.data_ptr()
        for layer, state in self._states.items():
            found[layer, : len(state)] = [memory.data_ptr() for memory in state]
        return found

    @property
    def storage(self) -> Tensor:
        """Keys and values of every layer, (layers, 2, kv_heads, planned, head_dim), contiguous.

        Empty where layers differ: only the decoder reads those.
        """
        return self._stored

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the new positions' keys and values, (kv_heads, new, head_dim), and gives all so far.

        Every layer of a step stores at the same place; `advance` ends the step.
        """
        stop = self.length + k.shape[1]
        keys, values = self._keys[layer]
        keys[:, self.length : stop] = k
        values[:, self.length : stop] = v
        return keys[:, :stop], values[:, :stop]

    def extended_latents(self, layer: int, latents: Tensor) -> Tensor:
        """Stores the new positions' latent vectors, (1, new, width), and gives all so far."""
        stop = self.length + latents.shape[1]
        self._latents[layer][:, self.length : stop] = latents
        return self._latents[layer][:, :stop]

    def read(self, layer: int, new: int) -> tuple[Tensor, Tensor]:
        """Keys and values that another layer stored in this step, of `new` positions, and before."""
        keys, values = self._keys[layer]
        return keys[:, : self.length + new], values[:, : self.length + new]

    def state(self, layer: int) -> tuple[Tensor, ...]:
        """A recurrence's state, to be changed in place: that of the positions before, zeros at first."""
        return self._states[layer]

    def advance(self, new: int) -> None:
        """The step's positions are now part of the past."""
        self.length += new
