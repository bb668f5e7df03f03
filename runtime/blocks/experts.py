"""Feed-forward networks: a plain one, and a mixture of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from llorch.runtime.blocks.linear import Linear, multiplied
from llorch.runtime.traits import Activation, Routing

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
}


@dataclass(frozen=True, slots=True)
class FeedForward:
    """down(act(gate x) · up x), or down(act(up x)) where there is no gate."""

    activation: Activation
    gate: Linear | None
    up: Linear
    down: Linear

    def __call__(self, x: Tensor) -> Tensor:
        """x: (positions, hidden) → the same shape."""
        act = ACTIVATIONS[self.activation]
        if self.gate is None:
            return self.down(act(self.up(x)))
        gate, up = multiplied(x, self.gate, self.up)
        return self.down(act(gate) * up)

    def linears(self) -> Iterator[Linear]:
        """Its products."""
        yield from filter(None, (self.gate, self.up, self.down))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Experts chosen by a router, and perhaps one that all positions share, weighed by σ(shared_gate x)."""

    routing: Routing
    router: Linear
    experts: Sequence[FeedForward]
    shared: FeedForward | None = None
    shared_gate: Linear | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """x: (positions, hidden) → the same shape."""
        weights, chosen = choose_experts(self.router(x), self.routing)
        y = torch.zeros_like(x)
        for index in sorted(set(chosen.flatten().tolist())):
            position, place = torch.where(chosen == index)
            y[position] += weights[position, place, None] * self.experts[index](x[position])
        if self.shared is not None:
            shared = self.shared(x)
            y += shared if self.shared_gate is None else torch.sigmoid(self.shared_gate(x)) * shared
        return y

    def linears(self) -> Iterator[Linear]:
        """The products of all experts, and of what is around them."""
        yield from filter(None, (self.router, self.shared_gate))
        for network in filter(None, (*self.experts, self.shared)):
            yield from network.linears()


def choose_experts(scores: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    """Router scores (positions, experts) → weights and indices, (positions, used), the largest first."""
    probabilities = torch.softmax(scores, dim=-1)
    # a stable sort, where topk does not say which of two equal ones it takes
    weights, indices = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    weights, indices = weights[:, : routing.used], indices[:, : routing.used]
    if routing.renormalised:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, indices
