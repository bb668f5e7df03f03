"""Which models have fused kernels, and the stacking of their matrices: one launch for all that read the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.gpu.matrix import FloatOnGpu, PackedOnGpu, join
from llorch.runtime.kernels.cuda.planes import TILE
from llorch.runtime.programs.known_traits import KNOWN_TRAITS, Known, supports, unknown_part
from llorch.runtime.traits import Rope, Routing, Traits
from llorch.runtime.weights import Attention, Layer, Weights

# The fields that the kernels take into account, by class; with any other one set a model is left to the decoder.
KNOWN: Known = {
    Traits: KNOWN_TRAITS[Traits] - {"mixers", "ffns", "output_gate"},
    Rope: KNOWN_TRAITS[Rope],
    Routing: KNOWN_TRAITS[Routing] - {"scores", "scale"},
    Weights: frozenset(["embedding", "layers", "final_norm", "head"]),
    Layer: frozenset(
        ["attention", "ffn", "attention_norm", "attention_post_norm", "ffn_norm", "ffn_post_norm"]
    ),
    Attention: frozenset(["q", "k", "v", "output", "q_norm", "k_norm"]),
    FeedForward: frozenset(["activation", "gate", "up", "down"]),
    Mixture: frozenset(["routing", "router", "experts", "shared", "shared_gate"]),
    Linear: frozenset(["weight", "bias"]),
    Norm: frozenset(["kind", "eps", "weight", "bias"]),
}
ACTIVATIONS = ("silu", "gelu_tanh", "gelu")


def fuse(traits: Traits, weights: Weights) -> bool:
    """Whether `DecodeStep` has kernels for the whole model; if for its traits, q, k, v and gate, up are stacked.

    To be called once, before any graph is recorded: it moves weights.
    """
    if traits.activation not in ACTIVATIONS or not supports(traits, KNOWN):
        return False
    layers = [_is_fused(layer) for layer in weights.layers]  # all layers, also after one without kernels
    return _knows([weights, weights.head]) and all(layers)


def qkv(attention: Attention) -> list[Linear]:
    """The linear layers of queries, keys and values."""
    assert attention.k is not None
    assert attention.v is not None
    return [attention.q, attention.k, attention.v]


def plain(layer: Layer) -> tuple[Attention, FeedForward | Mixture]:
    """Attention and feed-forward network of a layer for which `fuse` was true."""
    assert isinstance(layer.attention, Attention)
    assert isinstance(layer.ffn, (FeedForward, Mixture))
    return layer.attention, layer.ffn


def _knows(parts: Sequence[Any]) -> bool:
    return all(unknown_part(part, KNOWN) is None for part in parts)


def _is_fused(layer: Layer) -> bool:
    attention, ffn = layer.attention, layer.ffn
    if not isinstance(attention, Attention) or attention.k is None or attention.v is None:
        return False
    if not isinstance(ffn, (FeedForward, Mixture)) or not _knows([layer, attention, ffn]):
        return False
    norms = (layer.attention_norm, layer.attention_post_norm, layer.ffn_norm, layer.ffn_post_norm)
    set_norms = [norm for norm in (*norms, attention.q_norm, attention.k_norm) if norm is not None]
    if not _knows(set_norms) or any(norm.weight is None for norm in set_norms):
        return False
    join([linear.weight for linear in qkv(attention)])
    linears = [*qkv(attention), attention.output]
    if isinstance(ffn, Mixture):
        routed, network = _is_routed(ffn.experts), ffn.shared
        linears += [ffn.router, *([] if ffn.shared_gate is None else [ffn.shared_gate])]
    else:
        routed, network = True, ffn
    if network is not None:
        if not _knows([network]):
            return False
        if network.gate is not None:
            join([network.gate.weight, network.up.weight])
        linears += network.linears()
    return routed and _knows(linears) and all(_has_kernel(linear) for linear in linears)


def _has_kernel(linear: Linear) -> bool:
    weight = linear.weight
    return isinstance(weight, FloatOnGpu) or (isinstance(weight, PackedOnGpu) and weight.aligned)


def _is_routed(experts: Sequence[FeedForward]) -> bool:
    """Whether the experts are stacked at equal distances in planes, each of whole tiles."""
    gates, ups, downs = list[PackedOnGpu](), list[PackedOnGpu](), list[PackedOnGpu]()
    for expert in experts:
        gate = None if expert.gate is None else expert.gate.weight
        for matrix, group in ((gate, gates), (expert.up.weight, ups), (expert.down.weight, downs)):
            if not isinstance(matrix, PackedOnGpu) or matrix.rows % TILE or not matrix.aligned:
                return False
            group.append(matrix)
        if expert.up.bias is not None or expert.down.bias is not None or not _knows([expert]):
            return False
    if len(experts) < 2 or not all(_evenly(group) for group in (gates, ups, downs)):
        return False
    return gates[1].start - gates[0].start == ups[1].start - ups[0].start


def _evenly(group: Sequence[PackedOnGpu]) -> bool:
    step = group[1].start - group[0].start
    return all(m.held is group[0].held and m.start == group[0].start + i * step for i, m in enumerate(group))
