"""Mamba and Mamba 2: linear recurrences whose step, input and output depend on the position.

Sources: transformers, models/mamba2 and models/mamba (`slow_forward`); llama.cpp, src/models/mamba-base.cpp.
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
from llorch.runtime.traits import Mamba, Mamba2


@dataclass(frozen=True, slots=True)
class Mamba2Mixer:
    """The weights of a Mamba 2 block, and its recurrence.

    inward: rows of z, of x, B and C together, and of every head's time step. decay: −exp(A_log). skip: D.
    norm: over each group of channels after the gate, weight (groups, inner / groups); or None.
    """

    shape: Mamba2
    inward: Linear
    taps: Tensor
    conv_bias: Tensor | None
    step_bias: Tensor
    decay: Tensor
    skip: Tensor
    norm: Norm | None
    output: Linear

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """x: (positions, hidden) → the same shape; updates the state in place."""
        s, positions = self.shape, len(x)
        past, memory = state
        z, mixed, step = torch.split(self.inward(x), [s.inner, s.channels, s.heads], dim=-1)
        mixed = functional.silu(convolve(mixed, self.taps, self.conv_bias, past))
        shared = s.groups * s.state
        value, b, c = torch.split(mixed, [s.inner, shared, shared], dim=-1)
        value = value.reshape(positions, s.heads, s.head_dim)
        b, c = (
            one.reshape(positions, s.groups, s.state).repeat_interleave(s.heads // s.groups, dim=1)
            for one in (b, c)
        )
        step = functional.softplus(step + self.step_bias).clamp(min=s.least_step)
        decay = (step * self.decay).exp()
        y = torch.empty_like(value)
        for t in range(positions):
            memory *= decay[t, :, None, None]
            memory += (step[t, :, None] * value[t])[:, :, None] * b[t][:, None, :]
            y[t] = torch.einsum("hds,hs->hd", memory, c[t])
        y = (y + self.skip[:, None] * value).reshape(positions, -1) * functional.silu(z)
        if self.norm is not None:
            y = self.norm(y.view(positions, s.groups, -1)).reshape(positions, -1)
        return self.output(y)

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from (self.inward, self.output)


@dataclass(frozen=True, slots=True)
class MambaMixer:
    """The weights of a Mamba block, and its recurrence.

    inward: rows of x, then of z. parameters: rows of the low-rank time step, B and C. decay: −exp(A_log), (inner,
    state).
    """

    shape: Mamba
    inward: Linear
    taps: Tensor
    conv_bias: Tensor | None
    parameters: Linear
    step: Linear
    decay: Tensor
    skip: Tensor
    output: Linear

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """x: (positions, hidden) → the same shape; updates the state in place."""
        s, positions = self.shape, len(x)
        past, memory = state
        value, z = self.inward(x).chunk(2, dim=-1)
        value = functional.silu(convolve(value, self.taps, self.conv_bias, past))
        low, b, c = torch.split(self.parameters(value), [s.rank, s.state, s.state], dim=-1)
        if s.eps is not None:
            low, b, c = (functional.rms_norm(one, one.shape[-1:], eps=s.eps) for one in (low, b, c))
        step = functional.softplus(self.step(low))
        y = torch.empty_like(value)
        for t in range(positions):
            memory *= (step[t, :, None] * self.decay).exp()
            memory += (step[t] * value[t])[:, None] * b[t]
            y[t] = memory @ c[t]
        return self.output((y + self.skip * value) * functional.silu(z))

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from (self.inward, self.parameters, self.step, self.output)
