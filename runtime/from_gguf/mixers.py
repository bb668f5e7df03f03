"""Build each layer's mixer from the tensors of a GGUF file, with rows in ggml's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from llorch.runtime.blocks.delta_net import GatedDeltaNet
from llorch.runtime.blocks.latent import HeadMatrices, LatentAttention
from llorch.runtime.blocks.linear import Linear, Matrix, Rows
from llorch.runtime.blocks.mamba import Mamba2Mixer, MambaMixer
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.blocks.short_conv import ShortConvolution
from llorch.runtime.from_gguf.facts import OWN_GATE
from llorch.runtime.from_gguf.source import Source
from llorch.runtime.traits import DeltaNet, Heads, HeadsAndSpace, Latent, Mamba, Mamba2, ShortConv
from llorch.runtime.weights import Attention, AttentionAndSpace, MixerWeights


def build_mixer(source: Source, index: int) -> MixerWeights:
    """Build a layer's mixer; the layout must have been checked."""
    prefix, shape = f"blk.{index}.", source.traits.mixer(index)
    match shape:
        case Heads():
            return _attention(source, prefix, shape)
        case Latent():
            return _latent(source, prefix, shape)
        case DeltaNet():
            return _delta_net(source, prefix, shape)
        case Mamba2():
            return _mamba2(source, prefix, shape)
        case HeadsAndSpace():
            return AttentionAndSpace(
                _attention(source, prefix, shape.heads), _mamba2(source, prefix, shape.space)
            )
        case Mamba():
            return _mamba(source, prefix, shape)
        case ShortConv():
            return ShortConvolution(
                source.linear(f"{prefix}shortconv.in_proj"),
                source.required_vector(f"{prefix}shortconv.conv.weight"),
                source.linear(f"{prefix}shortconv.out_proj"),
            )
    raise AssertionError(shape)


def _attention(source: Source, prefix: str, shape: Heads) -> Attention:
    traits = source.traits
    k: Linear | None
    v: Linear | None
    if source.has(f"{prefix}attn_qkv.weight"):
        q, k, v = _split_qkv(source, prefix, shape)
    else:
        q = source.linear(f"{prefix}attn_q")
        own = traits.keys_of(int(prefix.split(".")[1])) == int(prefix.split(".")[1])
        k, v = (
            source.linear(f"{prefix}attn_{which}")
            if own and source.has(f"{prefix}attn_{which}.weight")
            else None
            for which in "kv"
        )
    plain = None
    if traits.plain_head_norm and traits.ropes[int(prefix.split(".")[1])] is not None:
        plain = Norm("rms", traits.norm_eps, None)
    return Attention(
        q,
        k,
        v,
        source.linear(f"{prefix}attn_output"),
        plain or source.norm(f"{prefix}attn_q_norm"),
        plain or source.norm(f"{prefix}attn_k_norm"),
        Norm("rms", traits.norm_eps, None) if traits.value_norm else None,
        source.vector(f"{prefix}attn_sinks.weight"),
        source.linear(f"{prefix}attn_gate") if OWN_GATE in source.family.required else None,
        source.norm(f"{prefix}attn_sub_norm"),
    )


def _split_qkv(source: Source, prefix: str, shape: Heads) -> Sequence[Linear]:
    """The projections of q, k and v from one tensor, in that order of rows; old files have separate biases."""
    whole = source.matrix(f"{prefix}attn_qkv.weight")
    bias = source.vector(f"{prefix}attn_qkv.bias")
    q, k, v = (
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
        shape.kv_heads * shape.value_width,
    )
    spans = {"q": (0, q), "k": (q, q + k), "v": (q + k, q + k + v)}
    return [
        Linear(
            whole.part(start, stop),
            source.vector(f"{prefix}attn_{which}.bias") if bias is None else bias[start:stop],
        )
        for which, (start, stop) in spans.items()
    ]


def _latent(source: Source, prefix: str, shape: Latent) -> LatentAttention:
    low = source.has(f"{prefix}attn_q_a.weight")
    both = shape.nope + shape.value
    if source.has(f"{prefix}attn_kv_b.weight"):
        joined = source.matrix(f"{prefix}attn_kv_b.weight")
        keys = HeadMatrices(joined, both, 0, shape.nope)
        values = HeadMatrices(joined, both, shape.nope, shape.value)
    else:
        keys = HeadMatrices(
            source.matrix(f"{prefix}attn_k_b.weight"), shape.rank, 0, shape.rank, transposed=True
        )
        values = HeadMatrices(source.matrix(f"{prefix}attn_v_b.weight"), shape.value, 0, shape.value)
    return LatentAttention(
        shape,
        q=source.linear(f"{prefix}attn_q_b" if low else f"{prefix}attn_q"),
        down=source.linear(f"{prefix}attn_kv_a_mqa"),
        norm=_latent_norm(source, f"{prefix}attn_kv_a_norm"),
        up_keys=keys,
        up_values=values,
        output=source.linear(f"{prefix}attn_output"),
        q_down=source.linear(f"{prefix}attn_q_a") if low else None,
        q_norm=_latent_norm(source, f"{prefix}attn_q_a_norm") if low else None,
    )


def _latent_norm(source: Source, stem: str) -> Norm:
    norm = source.required_norm(stem)
    return replace(norm, eps=source.family.latent_eps or norm.eps)


def _delta_net(source: Source, prefix: str, shape: DeltaNet) -> GatedDeltaNet:
    """Source: llama.cpp, src/models/qwen35.cpp and qwen3next.cpp, where key heads are repeated for the value heads."""
    repeats = shape.value_heads // shape.key_heads
    heads = torch.arange(shape.value_heads, device=source.numbers.device)
    if source.has(f"{prefix}ssm_ba.weight"):
        both = source.matrix(f"{prefix}ssm_ba.weight")
        write, step = _by_key_head(both, shape)
    else:
        step, write = source.linear(f"{prefix}ssm_alpha"), source.linear(f"{prefix}ssm_beta")
    return GatedDeltaNet(
        shape,
        qkv=source.linear(f"{prefix}attn_qkv"),
        gate=source.linear(f"{prefix}attn_gate"),
        step=step,
        write=write,
        taps=source.required_vector(f"{prefix}ssm_conv1d.weight"),
        decay=source.decay(f"{prefix}ssm_a"),
        step_bias=source.required_vector(f"{prefix}ssm_dt.bias"),
        key_of=heads % shape.key_heads if source.family.tiled else heads // repeats,
        norm=source.required_norm(f"{prefix}ssm_norm"),
        output=source.linear(f"{prefix}ssm_out"),
    )


def _by_key_head(both: Matrix, shape: DeltaNet) -> tuple[Linear, Linear]:
    """Split rows stored as b, then a, per key head into one layer for b and one for a, by value head."""
    repeats = shape.value_heads // shape.key_heads
    starts = [head * 2 * repeats for head in range(shape.key_heads)]
    return (
        Linear(Rows([both.part(start, start + repeats) for start in starts])),
        Linear(Rows([both.part(start + repeats, start + 2 * repeats) for start in starts])),
    )


def _mamba2(source: Source, prefix: str, shape: Mamba2) -> Mamba2Mixer:
    return Mamba2Mixer(
        shape,
        inward=source.linear(f"{prefix}ssm_in"),
        taps=source.required_vector(f"{prefix}ssm_conv1d.weight"),
        conv_bias=source.vector(f"{prefix}ssm_conv1d.bias"),
        step_bias=source.required_vector(f"{prefix}ssm_dt.bias"),
        decay=source.decay(f"{prefix}ssm_a"),
        skip=source.required_vector(f"{prefix}ssm_d").flatten(),
        norm=source.norm(f"{prefix}ssm_norm"),
        output=source.linear(f"{prefix}ssm_out"),
    )


def _mamba(source: Source, prefix: str, shape: Mamba) -> MambaMixer:
    return MambaMixer(
        shape,
        inward=source.linear(f"{prefix}ssm_in"),
        taps=source.required_vector(f"{prefix}ssm_conv1d.weight"),
        conv_bias=source.vector(f"{prefix}ssm_conv1d.bias"),
        parameters=source.linear(f"{prefix}ssm_x"),
        step=source.linear(f"{prefix}ssm_dt"),
        decay=source.decay(f"{prefix}ssm_a").view(shape.inner, shape.state),
        skip=source.required_vector(f"{prefix}ssm_d"),
        output=source.linear(f"{prefix}ssm_out"),
    )
