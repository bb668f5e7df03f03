"""Build each layer's mixer from the tensors of a folder, with rows in transformers' order."""

from __future__ import annotations

from dataclasses import replace

import torch

from llorch.runtime.blocks.delta_net import GatedDeltaNet
from llorch.runtime.blocks.latent import HeadMatrices, LatentAttention
from llorch.runtime.blocks.linear import Linear, Matrix, Rows
from llorch.runtime.blocks.mamba import Mamba2Mixer, MambaMixer
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.short_conv import ShortConvolution
from llorch.runtime.from_folder.source import Source
from llorch.runtime.traits import DeltaNet, Heads, HeadsAndSpace, Latent, Mamba, Mamba2, ShortConv
from llorch.runtime.weights import Attention, AttentionAndSpace, MixerWeights


def build_mixer(source: Source, index: int) -> MixerWeights:
    """Build a layer's mixer; the layout must have been checked."""
    shape = source.structure.kinds[index].mixer
    match shape:
        case Heads():
            return _attention(source, index, shape)
        case Latent():
            return _latent(source, index, shape)
        case DeltaNet():
            return _delta_net(source, index, shape)
        case Mamba2():
            return _mamba2(source, index, shape)
        case HeadsAndSpace():
            return AttentionAndSpace(
                _attention(source, index, shape.heads), _mamba2(source, index, shape.space)
            )
        case Mamba():
            return MambaMixer(
                shape,
                inward=source.linear(index, "mamba_in"),
                taps=source.values(index, "conv").squeeze(1),
                conv_bias=source.optional(index, "conv_bias"),
                parameters=source.linear(index, "step_low"),
                step=source.linear(index, "step"),
                decay=source.decay(index),
                skip=source.values(index, "skip"),
                output=source.linear(index, "mixer_output"),
            )
        case ShortConv():
            taps = source.values(index, "conv").squeeze(1)
            return ShortConvolution(
                source.linear(index, "short_in"), taps, source.linear(index, "mixer_output")
            )
    raise AssertionError(shape)


def _attention(source: Source, index: int, shape: Heads) -> Attention:
    k: Linear | None
    v: Linear | None
    plain = None
    if source.traits.plain_head_norm and source.traits.ropes[index] is not None:
        plain = Norm("rms", source.traits.norm_eps, None)
    if source.has(index, "qkv") and source.family.qkv_by_kv_head:
        q, k, v = _by_kv_head(source.linear(index, "qkv"), shape)
    elif source.has(index, "qkv"):
        heads = (shape.heads, shape.kv_heads, shape.kv_heads)
        q, k, v = source.split(index, "qkv", [count * shape.head_dim for count in heads])
    else:
        q = source.linear(index, "q")
        k, v = (source.linear(index, role) if source.has(index, role) else None for role in "kv")
    return Attention(
        q,
        k,
        v,
        source.linear(index, "output"),
        plain or source.norm(index, "q_norm"),
        plain or source.norm(index, "k_norm"),
        Norm("rms", source.traits.norm_eps, None) if source.traits.value_norm else None,
        source.optional(index, "sinks"),
        source.linear(index, "output_gate") if source.has(index, "output_gate") else None,
        source.norm(index, "attention_sub_norm"),
    )


def _by_kv_head(fused: Linear, shape: Heads) -> list[Linear]:
    """Split rows stored per KV head as its queries, its key and its value into one layer each for q, k and v.

    Sources: transformers, models/falcon, `_split_heads`; models/bloom and models/gpt_neox, where each query has a key.
    """
    group = shape.heads // shape.kv_heads
    counts, each = (group, 1, 1), (group + 2) * shape.head_dim
    starts = (0, group * shape.head_dim, (group + 1) * shape.head_dim)
    parts = []
    for start, count in zip(starts, counts, strict=True):
        spans = [
            (head * each + start, head * each + start + count * shape.head_dim)
            for head in range(shape.kv_heads)
        ]
        bias = None if fused.bias is None else torch.cat([fused.bias[a:b] for a, b in spans])
        parts.append(Linear(Rows([fused.weight.part(a, b) for a, b in spans]), bias))
    return parts


def _latent(source: Source, index: int, shape: Latent) -> LatentAttention:
    joined, both = source.layer_matrix(index, "latent_up"), shape.nope + shape.value
    low = source.has(index, "q_down")
    return LatentAttention(
        shape,
        q=source.linear(index, "latent_q_up" if low else "latent_q"),
        down=source.linear(index, "latent_down"),
        norm=_latent_norm(source, index, "latent_norm"),
        up_keys=HeadMatrices(joined, both, 0, shape.nope),
        up_values=HeadMatrices(joined, both, shape.nope, shape.value),
        output=source.linear(index, "latent_output"),
        q_down=source.linear(index, "q_down") if low else None,
        q_norm=_latent_norm(source, index, "latent_q_norm") if low else None,
    )


def _latent_norm(source: Source, index: int, role: str) -> Norm:
    norm = source.required_norm(index, role)
    return replace(norm, eps=source.family.latent_eps or norm.eps)


def _delta_net(source: Source, index: int, shape: DeltaNet) -> GatedDeltaNet:
    """Source: transformers, models/qwen3_next, `fix_query_key_value_ordering`; models/qwen3_5 has separate tensors."""
    if source.has(index, "delta_qkvz"):
        qkv, gate = _by_key_head(source.layer_matrix(index, "delta_qkvz"), shape)
        write, step = _write_and_step(source.layer_matrix(index, "delta_ba"), shape)
    else:
        qkv, gate = source.linear(index, "delta_qkv"), source.linear(index, "delta_z")
        write, step = source.linear(index, "delta_b"), source.linear(index, "delta_a")
    heads = torch.arange(shape.value_heads, device=source.numbers.device)
    return GatedDeltaNet(
        shape,
        qkv=qkv,
        gate=gate,
        step=step,
        write=write,
        taps=source.values(index, "conv").squeeze(1),
        decay=source.decay(index),
        step_bias=source.values(index, "step_bias"),
        key_of=heads // (shape.value_heads // shape.key_heads),
        norm=source.build_norm([source.name(index, "gated_norm")], biased=False, offset=0.0),
        output=source.linear(index, "mixer_output"),
    )


def _by_key_head(whole: Matrix, shape: DeltaNet) -> tuple[Linear, Linear]:
    """Split rows stored per key head as q, k, v and z into one layer for all q, k and v, and one for all z."""
    values = shape.value_heads // shape.key_heads * shape.value_dim
    lengths = (shape.key_dim, shape.key_dim, values, values)
    starts = [sum(lengths[:part]) for part in range(4)]
    parts = [
        [
            whole.part(head * sum(lengths) + start, head * sum(lengths) + start + length)
            for head in range(shape.key_heads)
        ]
        for start, length in zip(starts, lengths, strict=True)
    ]
    return Linear(Rows([*parts[0], *parts[1], *parts[2]])), Linear(Rows(parts[3]))


def _write_and_step(whole: Matrix, shape: DeltaNet) -> tuple[Linear, Linear]:
    """Split rows stored per key head as b, then a, into one layer for all b and one for all a."""
    each = shape.value_heads // shape.key_heads
    heads = range(shape.key_heads)
    b = [whole.part(2 * head * each, (2 * head + 1) * each) for head in heads]
    a = [whole.part((2 * head + 1) * each, (2 * head + 2) * each) for head in heads]
    return Linear(Rows(b)), Linear(Rows(a))


def _mamba2(source: Source, index: int, shape: Mamba2) -> Mamba2Mixer:
    norm = source.optional(index, "gated_norm")
    return Mamba2Mixer(
        shape,
        inward=source.linear(index, "mamba_in"),
        taps=source.values(index, "conv").squeeze(1),
        conv_bias=source.optional(index, "conv_bias"),
        step_bias=source.values(index, "step_bias"),
        decay=source.decay(index),
        skip=source.values(index, "skip"),
        norm=None if norm is None else Norm("rms", source.traits.norm_eps, norm.view(shape.groups, -1)),
        output=source.linear(index, "mixer_output"),
    )
