"""The weights of a decoder: those of each layer, and those before, beside and after all layers."""

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
    """The projections of attention, with the norms of queries and keys if the model has them.

    k, v: None if the layer reads another layer's keys and values; only v is None if the values are the keys before
    their norm. value_norm: norm of each head of v. sinks: (heads,), a logit per head. gate: of the output, if its rows
    are not interleaved with the query's. sub_norm: of the input of the output projection.
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
    sub_norm: Norm | None = None

    def linears(self) -> Iterator[Linear]:
        """All projections."""
        yield from filter(None, (self.q, self.k, self.v, self.output, self.gate))


RecurrentMixer = GatedDeltaNet | Mamba2Mixer | MambaMixer | ShortConvolution


@dataclass(frozen=True, slots=True)
class AttentionAndSpace:
    """Attention and a state space model on the same input, in parallel."""

    attention: Attention
    space: Mamba2Mixer

    def linears(self) -> Iterator[Linear]:
        """All projections of both."""
        yield from self.attention.linears()
        yield from self.space.linears()


MixerWeights = Attention | LatentAttention | RecurrentMixer | AttentionAndSpace

# Projections that feed a state which the delta rule corrects by reading it back: int8's error in them grows from token
# to token. Measured on 16 texts of random ids: Qwen3-Next's fixture was up to 4.8e-2 nats from exact, and is 7.9e-3.
FINER: Mapping[type, Sequence[str]] = {GatedDeltaNet: ("qkv",)}


def with_finer_products(mixer: MixerWeights) -> MixerWeights:
    """The mixer with the projections named in `FINER` computed in `Mode.finer`."""
    products = {name: replace(getattr(mixer, name), finer=True) for name in FINER.get(type(mixer), ())}
    return replace(mixer, **products)


@dataclass(frozen=True, slots=True)
class LayerEmbedding:
    """Projections that mix a layer's own token embedding into its output: norm(output(act(gate x) · embedding))."""

    gate: Linear
    output: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class LayerEmbeddings:
    """Per-layer token embeddings, all layers' in one table row, mixed with a projection of the first hidden state.

    scale: of the table's rows. mixed_scale: of the projected hidden state, before its norm.
    """

    table: Matrix
    scale: float
    projection: Linear
    mixed_scale: float
    norm: Norm

    def __call__(self, ids: Tensor, x: Tensor, layers: int) -> Tensor:
        """Every layer's embeddings of these tokens, (layers, positions, width)."""
        rows = (self.table.rows_at(ids) * self.scale).view(len(ids), layers, -1)
        mixed = self.norm((self.projection(x) * self.mixed_scale).view(len(ids), layers, -1))
        return ((mixed + rows) * 2**-0.5).transpose(0, 1)


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one block; a norm, mixer or feed-forward network that the architecture lacks is None.

    scale: factor on the block's output. updates, bypass: for models with several streams per position (AltUp).
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
        """All projections."""
        for part in (self.attention, self.ffn, self.updates, self.bypass):
            if part is not None:
                yield from part.linears()
        if self.embedding is not None:
            yield from (self.embedding.gate, self.embedding.output)

    def release(self) -> None:
        """Drop what was read or dequantized of its matrices; they are read again at their next use."""
        for linear in self.linears():
            linear.weight.release()


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights of a model.

    devices: each layer's device, if there are several; the head is on the last. positions: learned position embeddings.
    embedding_norm: norm of the sum of token and position embeddings.
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
        """Dequantize every matrix that is kept dequantized.

        Done one by one at first use, the matrices would lie between activations, and the allocator could then not give
        the activations' memory back: a tenth of the model's size, measured.
        """
        for layer in self.layers:
            for linear in layer.linears():
                linear.weight.materialize()
        if self.streams is not None:
            for linear in self.streams.linears():
                linear.weight.materialize()
        self.head.weight.materialize()
