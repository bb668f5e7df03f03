"""A decoder's weights: what a layer has, and what stands before, beside and after all layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llorch.runtime.blocks.delta_net import GatedDeltaNet
from llorch.runtime.blocks.experts import DenseAndMixture, FeedForward, Mixture
from llorch.runtime.blocks.latent import LatentAttention
from llorch.runtime.blocks.linear import Linear, Matrix
from llorch.runtime.blocks.mamba import Mamba2Mixer, MambaMixer
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.short_conv import ShortConvolution
from llorch.runtime.blocks.streams import AlternatingUpdates, Bypass, StreamProjections


@dataclass(frozen=True, slots=True)
class Attention:
    """The products around attention; norms of queries and keys where the model has them.

    k, v: None where the layer reads another's; v alone where the values are the keys, before their norm.
    value_norm: of each head's value. sinks: a logit for each head. gate: of the output, where its rows do not stand
    beside the query's.
    """

    q: Linear
    k: Linear | None
    v: Linear | None
    output: Linear
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    value_norm: Norm | None = None
    sinks: Tensor | None = None
    gate: Linear | None = None

    def linears(self) -> Iterator[Linear]:
        """Its products."""
        yield from filter(None, (self.q, self.k, self.v, self.output, self.gate))


RecurrentMixer = GatedDeltaNet | Mamba2Mixer | MambaMixer | ShortConvolution


@dataclass(frozen=True, slots=True)
class AttentionAndSpace:
    """Attention and a state space over the same input, side by side."""

    attention: Attention
    space: Mamba2Mixer

    def linears(self) -> Iterator[Linear]:
        """The products of both."""
        yield from self.attention.linears()
        yield from self.space.linears()


MixerWeights = Attention | LatentAttention | RecurrentMixer | AttentionAndSpace

# Products that go into a memory which is read by what it says itself: int8's error in them grows from token to token.
# Measured on 16 texts of random ids: Qwen3-Next's fixture was up to 4.8e-2 nats from exact, and is 7.9e-3.
FINER: Mapping[type, Sequence[str]] = {GatedDeltaNet: ("qkv",)}


def with_finer_products(mixer: MixerWeights) -> MixerWeights:
    """The same, whose products of that kind are computed in `Mode.finer`."""
    products = {name: replace(getattr(mixer, name), finer=True) for name in FINER.get(type(mixer), ())}
    return replace(mixer, **products)


@dataclass(frozen=True, slots=True)
class LayerEmbedding:
    """A layer's way in for its own embedding of every token: out(act(gate x) · embedding), normed."""

    gate: Linear
    output: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class LayerEmbeddings:
    """All layers' embeddings of a token in one row, and what the first hidden state adds to each.

    scale: of the rows. mixed_scale: of the product with the hidden state, before its norm.
    """

    table: Matrix
    scale: float
    projection: Linear
    mixed_scale: float
    norm: Norm

    def __call__(self, ids: Tensor, x: Tensor, layers: int) -> Tensor:
        """(layers, positions, width)."""
        rows = (self.table.rows_at(ids) * self.scale).view(len(ids), layers, -1)
        mixed = self.norm((self.projection(x) * self.mixed_scale).view(len(ids), layers, -1))
        return ((mixed + rows) * 2**-0.5).transpose(0, 1)


@dataclass(frozen=True, slots=True)
class Layer:
    """A block's weights; a norm, mixer or network that the architecture does not have is None.

    scale: what the layer's result is multiplied by. updates, bypass: where a position has several states.
    """

    attention: MixerWeights | None
    ffn: FeedForward | Mixture | DenseAndMixture | None
    attention_norm: Norm | None = None
    attention_post_norm: Norm | None = None
    ffn_norm: Norm | None = None
    ffn_post_norm: Norm | None = None
    embedding: LayerEmbedding | None = None
    scale: Tensor | None = None
    updates: AlternatingUpdates | None = None
    bypass: Bypass | None = None

    def linears(self) -> Iterator[Linear]:
        """Its products."""
        for part in (self.attention, self.ffn, self.updates, self.bypass):
            if part is not None:
                yield from part.linears()
        if self.embedding is not None:
            yield from (self.embedding.gate, self.embedding.output)

    def release(self) -> None:
        """Drops what was read or widened of its matrices; they are read again when they are used again."""
        for linear in self.linears():
            linear.weight.release()


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a model's weights. devices: each layer's, where they are not all on one; the head is on the last.

    positions: the embedding of each position, embedding_norm: of tokens and positions.
    """

    embedding: Matrix
    layers: Sequence[Layer]
    final_norm: Norm
    head: Linear
    layer_embeddings: LayerEmbeddings | None = None
    positions: Matrix | None = None
    embedding_norm: Norm | None = None
    streams: StreamProjections | None = None
    devices: Sequence[torch.device] = ()

    def materialize(self) -> None:
        """Widens all matrices that stay widened.

        Made one by one as they are used, they would lie between activations, whose memory the allocator could then
        not give back: a tenth of a model's, measured.
        """
        for layer in self.layers:
            for linear in layer.linears():
                linear.weight.materialize()
        if self.streams is not None:
            for linear in self.streams.linears():
                linear.weight.materialize()
        self.head.weight.materialize()
