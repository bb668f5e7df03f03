"""Build the decoder's weights from a folder: transformers' names and order of rows, read at first use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from llorch.runtime.blocks.experts import DenseAndMixture, FeedForward, Mixture, Xielu
from llorch.runtime.blocks.linear import Linear, Numbers
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.streams import AlternatingUpdates, Bypass, StreamProjections
from llorch.runtime.from_folder import Read
from llorch.runtime.from_folder.mixers import build_mixer
from llorch.runtime.from_folder.shards import OpenShards
from llorch.runtime.from_folder.source import Source
from llorch.runtime.traits import NoMixer
from llorch.runtime.weights import Layer, LayerEmbedding, LayerEmbeddings, Weights


def build_weights(
    read: Read, shards: OpenShards, numbers: Numbers, layer_devices: Sequence[torch.device] = ()
) -> Weights:
    """All weights of the model; the layout must have been checked, so that every required tensor exists with its shape.

    layer_devices: a device for each layer, if there are several; the final norm and the head go to the last.
    """
    source = Source(read, shards, numbers)
    sources = {
        device: source if device == numbers.device else Source(read, shards, replace(numbers, device=device))
        for device in layer_devices
    }
    last = sources[layer_devices[-1]] if layer_devices else source
    tied = f"{read.family.head}.weight" not in read.stored.tensors
    embedding = source.matrix(f"{read.family.embedding}.weight")
    named, outside = read.family.head, read.structure.outside
    own = f"{read.family.embedding}.weight" if tied else f"{named}.weight"
    head = embedding if tied and last is source else last.matrix(own)
    return Weights(
        embedding=embedding,
        layers=[
            _layer(sources[layer_devices[index]] if layer_devices else source, index)
            for index in range(read.sizes.layers)
        ],
        final_norm=_final_norm(last),
        head=Linear(head, last.vector(f"{named}.bias") if "head" in read.structure.biased else None),
        layer_embeddings=_layer_embeddings(source),
        positions=source.matrix(f"{outside['positions']}.weight") if "positions" in outside else None,
        embedding_norm=_embedding_norm(source),
        streams=_streams(source),
        devices=layer_devices,
    )


def _final_norm(source: Source) -> Norm:
    if source.family.bare_norms:
        return source.bare_norm()
    return source.build_norm([source.family.final_norm], biased=source.family.norm_bias)


def _embedding_norm(source: Source) -> Norm | None:
    name = source.structure.outside.get("embedding_norm")
    return None if name is None else source.build_norm([name], biased=source.family.norm_bias)


def _streams(source: Source) -> StreamProjections | None:
    """Source: transformers, models/gemma3n, `Gemma3nTextModel.forward`."""
    shape, outside = source.traits.streams, source.structure.outside
    if shape is None:
        return None
    apart, together = (
        [Linear(source.matrix(f"{outside[role].format(s=s)}.weight")) for s in range(shape.count - 1)]
        for role in ("streams_apart", "streams_together")
    )
    return StreamProjections(shape, apart, together)


def _layer(source: Source, index: int) -> Layer:
    mixer = source.traits.mixer(index)
    attention = None if isinstance(mixer, NoMixer) else build_mixer(source, index)
    first = source.norm(index, "attention_norm")
    embedding = None
    if source.has(index, "layer_gate"):
        embedding = LayerEmbedding(
            source.linear(index, "layer_gate"),
            source.linear(index, "layer_output"),
            source.required_norm(index, "layer_norm"),
        )
    return Layer(
        attention=attention,
        ffn=_network(source, index),
        attention_norm=None if attention is None else first,
        attention_post_norm=source.norm(index, "attention_post_norm"),
        ffn_norm=first if attention is None else source.norm(index, "ffn_norm"),
        ffn_post_norm=source.norm(index, "ffn_post_norm"),
        embedding=embedding,
        scale=source.optional(index, "layer_scale"),
        updates=_updates(source, index),
        bypass=_bypass(source, index),
    )


def _updates(source: Source, index: int) -> AlternatingUpdates | None:
    shape = source.traits.streams
    if shape is None:
        return None
    return AlternatingUpdates(
        shape,
        norm=source.required_norm(index, "updates_norm"),
        router=source.linear(index, "updates_router"),
        predict=source.linear(index, "updates_predict"),
        correct=source.linear(index, "updates_correct"),
        scale=source.values(index, "updates_scale"),
    )


def _bypass(source: Source, index: int) -> Bypass | None:
    if not source.has(index, "bypass_down"):
        return None
    return Bypass(
        source.linear(index, "bypass_down"),
        source.linear(index, "bypass_up"),
        source.required_norm(index, "bypass_norm"),
    )


def _xielu(source: Source, index: int) -> Xielu | None:
    if not source.has(index, "xielu_above"):
        return None
    roles = ("xielu_above", "xielu_below", "xielu_beta", "xielu_epsilon")
    return Xielu(*(source.values(index, role) for role in roles))


def _network(source: Source, index: int) -> FeedForward | Mixture | DenseAndMixture | None:
    match source.structure.kinds[index].ffn:
        case "none":
            return None
        case "dense":
            sparsity = source.traits.sparsity
            return replace(
                source.feed_forward(index, "" if source.has(index, "down") else "shared_"),
                xielu=_xielu(source, index),
                sparsity=sparsity[index] if sparsity else None,
            )
        case "mixture":
            return source.mixture(index)
        case "dense and mixture":
            return DenseAndMixture(
                dense=source.feed_forward(index),
                dense_norm=source.required_norm(index, "dense_norm"),
                mixture=source.mixture(index),
                mixture_input_norm=source.required_norm(index, "mixture_input_norm"),
                mixture_norm=source.required_norm(index, "mixture_norm"),
            )


def _layer_embeddings(source: Source) -> LayerEmbeddings | None:
    """Source: transformers, models/gemma4, `get_per_layer_inputs` and `project_per_layer_inputs`."""
    outside = source.structure.outside
    if "layer_embeddings" not in outside:
        return None
    return LayerEmbeddings(
        table=source.matrix(f"{outside['layer_embeddings']}.weight"),
        scale=math.sqrt(source.traits.layer_embedding),
        projection=Linear(source.matrix(f"{outside['layer_projection']}.weight")),
        mixed_scale=1 / math.sqrt(source.traits.hidden_size),
        norm=source.build_norm([outside["layer_projection_norm"]], biased=False),
    )
