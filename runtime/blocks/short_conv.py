"""LFM2's short convolution between two gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from llorch.runtime.blocks.convolution import convolve
from llorch.runtime.blocks.linear import Linear


@dataclass(frozen=True, slots=True)
class ShortConvolution:
    """The weights of a gated short convolution: b, c, x = in x; out(c · conv(b · x)).

    taps: (hidden, n).
    """

    inward: Linear
    taps: Tensor
    outward: Linear

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """x: (positions, hidden) → the same shape; updates the state in place."""
        before, after, value = self.inward(x).chunk(3, dim=-1)
        return self.outward(after * convolve(before * value, self.taps, None, state[0]))

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from (self.inward, self.outward)
