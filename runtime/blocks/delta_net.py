"""A gated delta net: linear attention whose state decays, and is corrected by the delta rule.

Sources: transformers, models/qwen3_next (`torch_recurrent_gated_delta_rule`); llama.cpp, src/models/delta-net-base.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from llorch.runtime.blocks.convolution import convolve
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.traits import DeltaNet

L2_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class GatedDeltaNet:
    """The weights of a gated delta net, and its recurrence.

    qkv: rows of all queries, keys, values. gate: z, as many rows as values. step, write: a and b, a row per value head.
    decay: −exp(A_log). key_of: for each value head, its key head. norm: of each head, its weight as applied.
    """

    shape: DeltaNet
    qkv: Linear
    gate: Linear
    step: Linear
    write: Linear
    taps: Tensor
    decay: Tensor
    step_bias: Tensor
    key_of: Tensor
    norm: Norm
    output: Linear

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """x: (positions, hidden) → the same shape; updates the state in place."""
        s, positions = self.shape, len(x)
        past, memory = state
        mixed = functional.silu(convolve(self.qkv(x), self.taps, None, past))
        keys = s.key_heads * s.key_dim
        q, k, v = torch.split(mixed, [keys, keys, s.value_heads * s.value_dim], dim=-1)
        q = _unit(q.reshape(positions, s.key_heads, s.key_dim))[:, self.key_of] * s.key_dim**-0.5
        k = _unit(k.reshape(positions, s.key_heads, s.key_dim))[:, self.key_of]
        v = v.reshape(positions, s.value_heads, s.value_dim)
        decay = (self.decay * functional.softplus(self.step(x) + self.step_bias)).exp()
        beta = torch.sigmoid(self.write(x))
        out = torch.empty_like(v)
        for t in range(positions):
            memory *= decay[t, :, None, None]
            recalled = torch.einsum("hkv,hk->hv", memory, k[t])
            memory += torch.einsum("hk,hv->hkv", k[t], (v[t] - recalled) * beta[t, :, None])
            out[t] = torch.einsum("hkv,hk->hv", memory, q[t])
        z = functional.silu(self.gate(x)).view_as(out)
        return self.output((self.norm(out) * z).reshape(positions, -1))

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from (self.qkv, self.gate, self.step, self.write, self.output)


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(-1, keepdim=True) + L2_EPS).rsqrt()
