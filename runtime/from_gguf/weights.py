"""Build the decoder's weights from a GGUF file: packed, with rows in ggml's order, read at first use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf import Header, TensorData
from llorch.runtime.blocks.experts import DenseAndMixture, FeedForward, Mixture, Xielu
from llorch.runtime.blocks.linear import Linear, Numbers
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.streams import AlternatingUpdates, Bypass, StreamProjections
from llorch.runtime.from_gguf.facts import ArchitectureFacts
from llorch.runtime.from_gguf.layout import role
from llorch.runtime.from_gguf.mixers import build_mixer
from llorch.runtime.from_gguf.source import Source
from llorch.runtime.traits import FfnKind, NoMixer, Traits
from llorch.runtime.weights import Layer, LayerEmbedding, LayerEmbeddings, Weights, with_finer_products


def build_weights(
    header: Header,
    data: TensorData,
    family: ArchitectureFacts,
    traits: Traits,
    numbers: Numbers,
    layer_devices: Sequence[torch.device] = (),
) -> Weights:
    """All weights of the model; the layout must have been checked, so that every required tensor exists with its shape.

    layer_devices: a device for each layer, if there are several; the final norm and the head go to the last.
    """
    source = Source(header, data, family, traits, numbers)
    sources = {
        device: source
        if device == numbers.device
        else Source(header, data, family, traits, replace(numbers, device=device))
        for device in layer_devices
    }
    layers = [
        _layer(sources[layer_devices[index]] if layer_devices else source, index)
        for index in range(traits.n_layers)
    ]
    last = sources[layer_devices[-1]] if layer_devices else source
    embedding = source.matrix("token_embd.weight")
    own = "output.weight" if source.has("output.weight") else "token_embd.weight"
    head = embedding if last is source and not source.has("output.weight") else last.matrix(own)
    weights = Weights(
        embedding=embedding,
        layers=layers,
        final_norm=last.bare_norm() if family.bare_norms else last.required_norm(role(family, "final_norm")),
        head=Linear(head, last.vector("output.bias")),
        layer_embeddings=_layer_embeddings(source),
        positions=source.matrix("position_embd.weight") if source.traits.learned_positions else None,
        embedding_norm=source.required_norm("token_embd_norm") if source.traits.embedding_norm else None,
        streams=_streams(source),
        devices=layer_devices,
    )
    if numbers.on_gpu:
        data.require_unchanged()  # on a GPU all weights have been read by now
    return weights


def _layer(source: Source, index: int) -> Layer:
    prefix, family, mixer = f"blk.{index}.", source.family, source.traits.mixer(index)
    attention = None if isinstance(mixer, NoMixer) else with_finer_products(build_mixer(source, index))

    def norm(name: str) -> Norm | None:
        stems = [f"{prefix}{stem}" for stem in role(family, name).split()]
        if family.bare_norms and stems:
            return source.bare_norm()
        return next((found for stem in stems if (found := source.norm(stem)) is not None), None)

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
        ffn_norm=first if attention is None else _ffn_norm(source, norm),
        ffn_post_norm=norm("ffn_post_norm"),
        embedding=embedding,
        scale=source.vector(f"{prefix}layer_output_scale.weight"),
        updates=_updates(source, prefix),
        bypass=_bypass(source, prefix),
    )


def _ffn_norm(source: Source, norm: Callable[[str], Norm | None]) -> Norm | None:
    """None in a parallel block whose attention and feed-forward network share one norm."""
    if source.traits.parallel and not source.traits.two_norms:
        return None
    return norm("ffn_norm")


def _updates(source: Source, prefix: str) -> AlternatingUpdates | None:
    shape = source.traits.streams
    if shape is None:
        return None
    return AlternatingUpdates(
        shape,
        norm=source.required_norm(f"{prefix}altup_router_norm"),
        router=source.linear(f"{prefix}altup_router"),
        predict=source.linear(f"{prefix}altup_predict_coef"),
        correct=source.linear(f"{prefix}altup_correct_coef"),
        scale=source.required_vector(f"{prefix}altup_correct_scale.weight"),
    )


def _bypass(source: Source, prefix: str) -> Bypass | None:
    if not source.has(f"{prefix}laurel_l.weight"):
        return None
    return Bypass(
        source.linear(f"{prefix}laurel_l"),
        source.linear(f"{prefix}laurel_r"),
        source.required_norm(f"{prefix}laurel_post_norm"),
    )


def _streams(source: Source) -> StreamProjections | None:
    """Source: src/models/gemma3n.cpp, `altup_proj` and `altup_unembd_proj`, a matrix for each state but the first."""
    shape, hidden = source.traits.streams, source.traits.hidden_size
    if shape is None:
        return None
    apart, together = (
        [Linear(whole.part(i * hidden, (i + 1) * hidden)) for i in range(shape.count - 1)]
        for whole in (source.matrix("altup_proj.weight"), source.matrix("altup_unembd_proj.weight"))
    )
    return StreamProjections(shape, apart, together)


def _layer_embeddings(source: Source) -> LayerEmbeddings | None:
    """Gemma's per-layer embeddings.

    Source: src/models/gemma4.cpp, `build_inp_per_layer` and `project_per_layer_inputs`.
    """
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
            return replace(
                source.feed_forward(prefix),
                xielu=_xielu(source, index) if traits.activation == "xielu" else None,
                sparsity=traits.sparsity[index] if traits.sparsity else None,
            )
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


def _xielu(source: Source, index: int) -> Xielu:
    """The activation's four numbers, from keys with one per layer or one for all.

    Source: src/models/apertus.cpp, `load_arch_hparams`.
    """
    numbers, metadata = source.numbers, source.header.metadata
    found = []
    for name in ("alpha_p", "alpha_n", "beta", "eps"):
        value = metadata.get(f"xielu.{name}")
        values = np.zeros(0) if value is None else np.asarray(value.data, np.float32)
        listed = np.repeat(values, source.traits.n_layers) if values.ndim == 0 else values
        if len(listed) != source.traits.n_layers or not np.isfinite(listed).all():
            raise MalformedInput(
                f"is not {source.traits.n_layers} numbers, one a layer or one for all",
                where=f"key {printable(f'xielu.{name}')}",
            )
        one = torch.tensor(listed[index])
        one = one if numbers.rounded is None else one.to(numbers.rounded).float()
        found.append(one.to(numbers.device, numbers.dtype))
    return Xielu(*found)
