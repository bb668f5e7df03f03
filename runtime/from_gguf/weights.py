"""The weights of a GGUF file as the decoder takes them: in their blocks, in ggml's order of rows, read on first use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from llorch.formats.gguf import Header, TensorData
from llorch.runtime.blocks.experts import DenseAndMixture, FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear, Numbers
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.decoder import Layer, LayerEmbedding, LayerEmbeddings, Weights
from llorch.runtime.from_gguf.families import ArchitectureFacts
from llorch.runtime.from_gguf.layout import role
from llorch.runtime.from_gguf.mixers import mixer_of
from llorch.runtime.from_gguf.source import Source
from llorch.runtime.traits import FfnKind, NoMixer, Traits


def build_weights(
    header: Header,
    data: TensorData,
    family: ArchitectureFacts,
    traits: Traits,
    numbers: Numbers,
    places: Sequence[torch.device] = (),
) -> Weights:
    """All weights; the layout has been checked, so that every name asked for is there with its shape.

    places: a device for each layer, where there are several; what is behind the layers goes to the last.
    """
    source = Source(header, data, family, traits, numbers)
    at = {
        device: source
        if device == numbers.device
        else Source(header, data, family, traits, replace(numbers, device=device))
        for device in places
    }
    layers = [_layer(at[places[index]] if places else source, index) for index in range(traits.n_layers)]
    last = at[places[-1]] if places else source
    embedding = source.matrix("token_embd.weight")
    own = "output.weight" if source.has("output.weight") else "token_embd.weight"
    head = embedding if last is source and not source.has("output.weight") else last.matrix(own)
    weights = Weights(
        embedding=embedding,
        layers=layers,
        final_norm=last.required_norm(role(family, "final_norm")),
        head=Linear(head, last.vector("output.bias")),
        layer_embeddings=_layer_embeddings(source),
        devices=places,
    )
    if numbers.on_gpu:
        data.require_unchanged()  # all has been read
    return weights


def _layer(source: Source, index: int) -> Layer:
    prefix, family, mixer = f"blk.{index}.", source.family, source.traits.mixer(index)
    attention = None if isinstance(mixer, NoMixer) else mixer_of(source, index)

    def norm(name: str) -> Norm | None:
        stem = role(family, name)
        return source.norm(f"{prefix}{stem}") if stem else None

    first = norm("attention_norm")
    embedding = None
    if source.has(f"{prefix}inp_gate.weight"):
        embedding = LayerEmbedding(
            source.linear(f"{prefix}inp_gate"),
            source.linear(f"{prefix}proj"),
            source.required_norm(f"{prefix}post_norm"),
        )
    return Layer(
        attention=attention,
        ffn=_network(source, index),
        attention_norm=None if attention is None else first,
        attention_post_norm=norm("attention_post_norm"),
        ffn_norm=first if attention is None else norm("ffn_norm"),
        ffn_post_norm=norm("ffn_post_norm"),
        embedding=embedding,
        scale=source.vector(f"{prefix}layer_output_scale.weight"),
    )


def _layer_embeddings(source: Source) -> LayerEmbeddings | None:
    """Gemma 4's. Source: src/models/gemma4.cpp, `build_inp_per_layer` and `project_per_layer_inputs`."""
    if not source.has("per_layer_token_embd.weight"):
        return None
    traits = source.traits
    return LayerEmbeddings(
        table=source.matrix("per_layer_token_embd.weight"),
        scale=math.sqrt(traits.layer_embedding),
        projection=source.linear("per_layer_model_proj"),
        mixed_scale=1 / math.sqrt(traits.hidden_size),
        norm=source.required_norm("per_layer_proj_norm"),
    )


def _network(source: Source, index: int) -> FeedForward | Mixture | DenseAndMixture | None:
    prefix, traits = f"blk.{index}.", source.traits
    usual: FfnKind = "mixture" if traits.routing is not None else "dense"
    if source.family.ffns == "dense and mixture" and traits.routing is not None:
        usual = "dense and mixture"
    match traits.ffns[index] if traits.ffns else usual:
        case "none":
            return None
        case "dense":
            return source.feed_forward(prefix)
        case "mixture":
            return source.mixture(prefix)
        case "dense and mixture":
            return DenseAndMixture(
                dense=source.feed_forward(prefix),
                dense_norm=source.required_norm(f"{prefix}post_ffw_norm_1"),
                mixture=source.mixture(prefix),
                mixture_input_norm=source.required_norm(f"{prefix}pre_ffw_norm_2"),
                mixture_norm=source.required_norm(f"{prefix}post_ffw_norm_2"),
            )
