"""Stack the matrices that multiply the same activations, so that one launch computes them all."""

from __future__ import annotations

from collections.abc import Sequence

from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.gpu.matrix import FloatOnGpu, PackedOnGpu, join
from llorch.runtime.kernels.cuda.planes import TILE
from llorch.runtime.weights import Attention, Layer, Weights


def fuse(weights: Weights) -> bool:
    """Stack q, k, v and gate, up where possible; returns whether `DecodeStep` has kernels for every layer.

    To be called once, before any graph is recorded: it moves weights.
    """
    found = [_is_fused(layer) for layer in weights.layers]  # all layers, also after one without kernels
    return all(found)


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


def _is_fused(layer: Layer) -> bool:
    attention, ffn = layer.attention, layer.ffn
    if not isinstance(attention, Attention) or attention.k is None or attention.v is None:
        return False
    if not isinstance(ffn, (FeedForward, Mixture)) or layer.embedding is not None or layer.scale is not None:
        return False
    norms = (layer.attention_norm, layer.attention_post_norm, layer.ffn_norm, layer.ffn_post_norm)
    if any(norm is not None and norm.weight is None for norm in (*norms, attention.q_norm, attention.k_norm)):
        return False
    join([linear.weight for linear in qkv(attention)])
    linears = [*qkv(attention), attention.output]
    if isinstance(ffn, Mixture):
        routed = _is_routed(ffn.experts) and ffn.choice_bias is None and ffn.router_norm is None
        network = ffn.shared
    else:
        routed, network = True, ffn
    if network is not None:
        if network.gate is not None:
            join([network.gate.weight, network.up.weight])
        linears += network.linears()
    return routed and all(
        isinstance(linear.weight, FloatOnGpu)
        or (isinstance(linear.weight, PackedOnGpu) and linear.weight.aligned)
        for linear in linears
    )


def _is_routed(experts: Sequence[FeedForward]) -> bool:
    """Whether the experts are stacked at equal distances in planes, each of whole tiles."""
    gates, ups, downs = list[PackedOnGpu](), list[PackedOnGpu](), list[PackedOnGpu]()
    for expert in experts:
        gate = None if expert.gate is None else expert.gate.weight
        for matrix, group in ((gate, gates), (expert.up.weight, ups), (expert.down.weight, downs)):
            if not isinstance(matrix, PackedOnGpu) or matrix.rows % TILE or not matrix.aligned:
                return False
            group.append(matrix)
        if expert.up.bias is not None or expert.down.bias is not None:
            return False
    if len(experts) < 2 or not all(_evenly(group) for group in (gates, ups, downs)):
        return False
    return gates[1].start - gates[0].start == ups[1].start - ups[0].start


def _evenly(group: Sequence[PackedOnGpu]) -> bool:
    step = group[1].start - group[0].start
    return all(m.held is group[0].held and m.start == group[0].start + i * step for i, m in enumerate(group))
