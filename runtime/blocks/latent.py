"""Multi-head latent attention (MLA): the cache holds latent vectors, from which keys and values are projected.

A head's key is `up_keys · c` beside the rotated channels that all heads share, its value `up_values · c`. So a query
times a key is (up_keysᵀ · query) times c, and the values are projected from the attention-weighted sum of c: neither
is ever computed for a past position. Sources: llama.cpp, src/models/deepseek2.cpp; transformers, models/deepseek_v3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from llorch.runtime.blocks.attention import attend
from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.linear import Linear, Matrix
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.rope import rotate
from llorch.runtime.traits import Latent, Rope


@dataclass(frozen=True, slots=True)
class HeadMatrices:
    """One matrix per head, stored as rows of one tensor.

    each: rows per head in the tensor. first, count: which of those rows. transposed: whether the file stores each
    matrix transposed.
    """

    rows: Matrix
    each: int
    first: int
    count: int
    transposed: bool = False

    def __call__(self) -> Tensor:
        """Dequantize: (heads, out, in)."""
        whole = self.rows.dequantize(0, self.rows.rows).view(-1, self.each, self.rows.columns)
        part = whole[:, self.first : self.first + self.count]
        return part.transpose(1, 2) if self.transposed else part


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """The weights of multi-head latent attention.

    q: the query projection; low-rank with `q_down` and `q_norm` before it. down: rows of c and of the rotated channels.
    norm: of c. up_keys: (heads, nope, rank). up_values: (heads, value, rank).
    """

    shape: Latent
    q: Linear
    down: Linear
    norm: Norm
    up_keys: HeadMatrices
    up_values: HeadMatrices
    output: Linear
    q_down: Linear | None = None
    q_norm: Norm | None = None

    def queries(self, x: Tensor) -> Tensor:
        """(positions, hidden) → (heads, positions, nope + rope)."""
        if self.q_down is not None and self.q_norm is not None:
            x = self.q_norm(self.q_down(x))
        return self.q(x).view(len(x), self.shape.heads, -1).transpose(0, 1)

    def attend(
        self,
        x: Tensor,
        layer: int,
        cache: Cache,
        *,
        rope: Rope | None,
        angles: tuple[Tensor, Tensor] | None,
        scale: float,
        temperature: Tensor | None,
    ) -> Tensor:
        """Attend; return all heads' values, (positions, heads · value), before the output projection."""
        s = self.shape
        q_plain, q_turning = torch.split(self.queries(x), [s.nope, s.rope], dim=-1)
        c, k_turning = torch.split(self.down(x), [s.rank, s.rope], dim=-1)
        k_turning = k_turning[None]
        if rope is not None and angles is not None:
            q_turning, k_turning = rotate(q_turning, rope, *angles), rotate(k_turning, rope, *angles)
        q = torch.cat([q_plain @ self.up_keys(), q_turning], dim=-1)
        if temperature is not None:
            q = q * temperature
        seen = cache.extended_latents(layer, torch.cat([self.norm(c)[None], k_turning], dim=-1))
        out = attend(q, seen, seen[..., : s.rank], scale=scale, position=cache.position)
        return (out @ self.up_values().transpose(1, 2)).transpose(0, 1).reshape(len(x), -1)

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from filter(None, (self.q_down, self.q, self.down, self.output))
