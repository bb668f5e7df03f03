"""RMS norm and layer norm, both in the arithmetic's dtype."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from llorch.runtime.traits import NormKind


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm's weights.

    weight: (width,), or (heads, head_dim) with a row per head, any offset already added; None is a weight of ones.
    bias: like weight.
    """

    kind: NormKind
    eps: float
    weight: Tensor | None
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the last dimension: x / √(mean x² + eps) · w, or (x − mean) / √(variance + eps) · w + b."""
        if self.kind == "layer":
            x = x - x.mean(-1, keepdim=True)
        y = x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias
