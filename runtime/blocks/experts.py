"""Feed-forward networks: dense, and mixtures of experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from llorch.runtime.blocks.linear import Linear, multiply_all
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.traits import Activation, Routing

SMALLEST_SUM = 1e-20  # epsilon that llama.cpp and transformers add to a sum of sigmoids, which may all be 0
# gpt-oss's: transformers, GptOssConfig; llama.cpp, src/models/openai-moe.cpp
SWIGLU_ALPHA, SWIGLU_LIMIT = 1.702, 7.0

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu2": lambda x: functional.relu(x).square(),
}


def clamped_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """(up + 1) · gate · σ(α gate), with gate ≤ limit and −limit ≤ up ≤ limit."""
    gate, up = gate.clamp(max=SWIGLU_LIMIT), up.clamp(-SWIGLU_LIMIT, SWIGLU_LIMIT)
    return (up + 1) * gate * torch.sigmoid(SWIGLU_ALPHA * gate)


@dataclass(frozen=True, slots=True)
class Xielu:
    """xIELU: α₊x² + βx above zero, (expm1(min(x, ε)) − x) α₋ + βx below.

    above, below, beta, epsilon: a number each, as a tensor; α₊ = softplus(above), α₋ = β + softplus(below).
    Sources: transformers, activations.py, `XIELUActivation`; ggml, unary-ops.cpp, `op_xielu`.
    """

    above: Tensor
    below: Tensor
    beta: Tensor
    epsilon: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        above, below = functional.softplus(self.above), self.beta + functional.softplus(self.below)
        return torch.where(
            x > 0,
            above * x * x + self.beta * x,
            (torch.expm1(torch.minimum(x, self.epsilon)) - x) * below + self.beta * x,
        )


@dataclass(frozen=True, slots=True)
class FeedForward:
    """down(act(gate x) · up x), or down(act(up x)) without a gate.

    xielu: the activation, if it has parameters of this layer. sparsity: number of standard deviations above the mean
    that is subtracted from the gate before a ReLU. sub_norm: of the input of `down`.
    """

    activation: Activation
    gate: Linear | None
    up: Linear
    down: Linear
    xielu: Xielu | None = None
    sparsity: float | None = None
    sub_norm: Norm | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """x: (positions, hidden) → the same shape."""
        if self.activation == "clamped_swiglu" and self.gate is not None:
            return self.down(clamped_swiglu(self.gate(x), self.up(x)))
        act = ACTIVATIONS[self.activation] if self.xielu is None else self.xielu
        if self.gate is None:
            return self.down(act(self.up(x)))
        gate, up = multiply_all(x, self.gate, self.up)
        if self.sparsity is not None:
            spread, mean = torch.std_mean(gate, dim=-1, keepdim=True, correction=0)
            gate = functional.relu(gate - (mean + spread * self.sparsity))
        inner = act(gate) * up
        return self.down(inner if self.sub_norm is None else self.sub_norm(inner))

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from filter(None, (self.gate, self.up, self.down))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Experts chosen by a router, and optionally a shared one for all positions, weighed by σ(shared_gate x).

    choice_bias: (experts,), added to the scores for the choice only, not for the weights. router_norm: norm of the
    router's input. expert_scale: (experts,), factor on each expert's weight.
    """

    routing: Routing
    router: Linear
    experts: Sequence[FeedForward]
    shared: FeedForward | None = None
    shared_gate: Linear | None = None
    choice_bias: Tensor | None = None
    router_norm: Norm | None = None
    expert_scale: Tensor | None = None

    def __call__(self, x: Tensor, routed_by: Tensor | None = None) -> Tensor:
        """x: (positions, hidden) → the same shape. routed_by: the router's input, if it is not x."""
        seen = x if routed_by is None else routed_by
        seen = seen if self.router_norm is None else self.router_norm(seen)
        weights, chosen = choose_experts(self.router(seen), self.routing, self.choice_bias)
        if self.expert_scale is not None:
            weights = weights * self.expert_scale[chosen]
        y = torch.zeros_like(x)
        for index in sorted(set(chosen.flatten().tolist())):
            position, place = torch.where(chosen == index)
            weight = weights[position, place, None]
            if self.routing.weighs_input:
                y[position] += self.experts[index](weight * x[position])
            else:
                y[position] += weight * self.experts[index](x[position])
        if self.shared is not None:
            shared = self.shared(x) * self.routing.shared_scale
            y += shared if self.shared_gate is None else torch.sigmoid(self.shared_gate(x)) * shared
        return y

    def linears(self) -> Iterator[Linear]:
        """The projections of all experts, the router and the shared expert."""
        yield from filter(None, (self.router, self.shared_gate))
        for network in filter(None, (*self.experts, self.shared)):
            yield from network.linears()


@dataclass(frozen=True, slots=True)
class DenseAndMixture:
    """A dense network and a mixture in parallel, each with an output norm, the mixture with an input norm too."""

    dense: FeedForward
    dense_norm: Norm
    mixture: Mixture
    mixture_input_norm: Norm
    mixture_norm: Norm

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """x: (positions, hidden), normed; residual: the same before that norm. Returns their shape."""
        dense = self.dense_norm(self.dense(x))
        return dense + self.mixture_norm(self.mixture(self.mixture_input_norm(residual), residual))

    def linears(self) -> Iterator[Linear]:
        """The projections of both."""
        yield from self.dense.linears()
        yield from self.mixture.linears()


def choose_experts(
    scores: Tensor, routing: Routing, choice_bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Router scores (positions, experts) → weights and indices of the chosen ones, (positions, used), largest first."""
    if routing.scores == "sparse mixer":
        return _sparse_mixer(scores, routing)
    if routing.scores == "sigmoid":
        probabilities = torch.sigmoid(scores)
    else:
        probabilities = torch.softmax(scores, dim=-1) if routing.scores == "softmax" else scores
    choice_scores = probabilities if choice_bias is None else probabilities + choice_bias
    if routing.groups > 1:
        choice_scores = _keep_best_groups(choice_scores, routing)
    # a stable sort breaks ties by index; topk does not promise which of two equal ones it takes
    indices = torch.sort(choice_scores, dim=-1, descending=True, stable=True).indices[:, : routing.used]
    weights = probabilities.gather(1, indices)
    if routing.scores == "softmax of the chosen":
        weights = torch.softmax(weights, dim=-1)
    if routing.renormalised:
        weights = weights / (weights.sum(-1, keepdim=True) + SMALLEST_SUM)
    return weights * routing.scale, indices


def _sparse_mixer(scores: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    """Sparse mixer: weights and indices. Source: transformers, models/phimoe, `sparsemixer`, which does this twice."""
    left, weights, indices = scores, [], []
    for _ in range(routing.used):
        best, index = left.max(dim=-1, keepdim=True)
        far = (best - scores) / torch.maximum(scores.abs(), best) > 2 * routing.jitter
        weights.append(torch.softmax(left.masked_fill(far, float("-inf")), dim=-1).gather(1, index))
        indices.append(index)
        left = left.scatter(1, index, float("-inf"))
    return torch.cat(weights, dim=1), torch.cat(indices, dim=1)


def _keep_best_groups(choice_scores: Tensor, routing: Routing) -> Tensor:
    """Scores of the experts in the best groups; −inf for all others."""
    grouped = choice_scores.view(len(choice_scores), routing.groups, -1)
    best = min(2, grouped.shape[-1]) if routing.group_worth == "two best" else 1
    of_group = grouped.topk(best, dim=-1).values.sum(-1)
    chosen = torch.sort(of_group, dim=-1, descending=True, stable=True).indices[:, : routing.groups_used]
    kept = torch.zeros_like(of_group, dtype=torch.bool).scatter_(1, chosen, True)
    return grouped.masked_fill(~kept[:, :, None], float("-inf")).view_as(choice_scores)
