"""The two norms, both in the arithmetic's dtype."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from llorch.runtime.traits import NormKind


@dataclass(frozen=True, slots=True)
class Norm:
    """weight: (width,), or (heads, head_dim) with a row for every head, any offset already in it; bias likewise.

    No weight is one of ones.
    """

    kind: NormKind
    eps: float
    weight: Tensor | None
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Over the last dimension: x / √(mean x² + eps) · w, or (x − mean) / √(variance + eps) · w + b."""
        if self.kind == "layer":
            x = x - x.mean(-1, keepdim=True)
        y = x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias
