"""Each layer's kind in a GGUF file: which mixer and which feed-forward network, by the keys that llama.cpp uses.

Sources: llama.cpp, src/models/<architecture>.cpp, `load_arch_hparams` and `load_arch_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from llorch.runtime.from_gguf.keys import Keys, Sizes
from llorch.runtime.traits import (
    DeltaNet,
    FfnKind,
    Heads,
    HeadsAndSpace,
    Latent,
    Mamba,
    Mamba2,
    Mixer,
    NoMixer,
    ShortConv,
)


@dataclass(frozen=True, slots=True)
class LayerKind:
    """One layer: its mixer, its feed-forward network, and the layer whose keys and values it reads."""

    mixer: Mixer
    ffn: FfnKind
    keys_from: int


def read_kinds(keys: Keys, sizes: Sizes, tensors: Collection[str]) -> list[LayerKind]:
    """All layers' kinds. tensors: names of the file's tensors."""
    mixers = MIXERS[keys.family.mixers](keys, sizes)
    ffns = _ffns(keys, sizes, tensors)
    sources = list(range(sizes.layers))
    shared = (
        keys.metadata.integer(keys.full("attention.shared_kv_layers"), 0) if keys.family.shares_keys else 0
    )
    if shared:
        windows = keys.windows(sizes.layers)
        own = sizes.layers - shared
        for layer in range(own, sizes.layers):
            alike = [before for before in range(own) if (windows[before] is None) == (windows[layer] is None)]
            if not alike:
                raise keys.malformed(
                    "attention.shared_kv_layers", f"is {shared}: layer {layer} has none to share with"
                )
            sources[layer] = alike[-1]
    return [LayerKind(*of_layer) for of_layer in zip(mixers, ffns, sources, strict=True)]


def _ffns(keys: Keys, sizes: Sizes, tensors: Collection[str]) -> list[FfnKind]:
    match keys.family.ffns:
        case "none":
            return ["none"] * sizes.layers
        case "alike":
            return ["mixture" if sizes.experts else "dense"] * sizes.layers
        case "dense and mixture":
            return ["dense and mixture" if sizes.experts else "dense"] * sizes.layers
        case "leading dense":
            dense = keys.metadata.integer(keys.full("leading_dense_block_count"), 0)
            return ["dense" if layer < dense else "mixture" for layer in range(sizes.layers)]
        case "where routed":
            return [
                "mixture" if f"blk.{layer}.ffn_gate_inp.weight" in tensors else "dense"
                for layer in range(sizes.layers)
            ]
        case "at intervals":
            step = keys.positive("interleave_moe_layer_step", 1)
            first = keys.metadata.integer(keys.full("leading_dense_block_count"), 0)
            return [
                "mixture" if layer >= first and (layer + 1) % step == 0 else "dense"
                for layer in range(sizes.layers)
            ]
        case "by width":
            mixture: FfnKind = "mixture" if sizes.experts else "dense"
            widths = keys.by_layer("feed_forward_length", sizes.layers, 0)
            heads = keys.by_layer("attention.head_count_kv", sizes.layers, sizes.heads)
            return [mixture if w and not h else "none" for w, h in zip(widths, heads, strict=True)]


def _attention(_: Keys, sizes: Sizes) -> list[Mixer]:
    return [Heads(sizes.heads, sizes.kv_heads, sizes.head_dim)] * sizes.layers


def _delta_net(keys: Keys, sizes: Sizes) -> list[Mixer]:
    listed = keys.metadata.get(keys.full("attention.recurrent_layers"))
    if listed is None:
        interval = keys.positive("full_attention_interval", 4)
        recurrent = [(layer + 1) % interval != 0 for layer in range(sizes.layers)]
    else:
        flags = keys.metadata.integers(keys.full("attention.recurrent_layers"))
        if len(flags) < sizes.layers:
            raise keys.malformed(
                "attention.recurrent_layers", f"has {len(flags)} entries for {sizes.layers} layers"
            )
        recurrent = [bool(flag) for flag in flags[: sizes.layers]]
    value_heads, key_heads = keys.positive("ssm.time_step_rank"), keys.positive("ssm.group_count")
    inner = keys.positive("ssm.inner_size")
    if value_heads % key_heads or inner % value_heads:
        raise keys.malformed(
            "ssm.time_step_rank", f"is {value_heads}, of {key_heads} groups and {inner} channels"
        )
    state = keys.positive("ssm.state_size")
    net = DeltaNet(key_heads, value_heads, state, inner // value_heads, keys.positive("ssm.conv_kernel"))
    heads = Heads(sizes.heads, sizes.kv_heads, sizes.head_dim)
    return [net if is_recurrent else heads for is_recurrent in recurrent]


def _mamba2(keys: Keys) -> Mamba2:
    heads, inner = keys.positive("ssm.time_step_rank"), keys.positive("ssm.inner_size")
    groups = keys.positive("ssm.group_count")
    if inner % heads or heads % groups:
        raise keys.malformed("ssm.time_step_rank", f"is {heads}, of {groups} groups and {inner} channels")
    return Mamba2(
        heads, inner // heads, groups, keys.positive("ssm.state_size"), keys.positive("ssm.conv_kernel")
    )


def _all_mamba2(keys: Keys, sizes: Sizes) -> list[Mixer]:
    return [_mamba2(keys)] * sizes.layers


# No key has it: the original's value. llama.cpp uses the epsilon of the layers' norms instead (mamba-base.cpp).
FALCON_MAMBA_EPS = 1e-6


def _mamba(keys: Keys, sizes: Sizes) -> list[Mixer]:
    names = ("ssm.inner_size", "ssm.time_step_rank", "ssm.state_size", "ssm.conv_kernel")
    eps = FALCON_MAMBA_EPS if keys.flag("ssm.dt_b_c_rms", False) else None
    inner, rank, state, taps = (keys.positive(name) for name in names)
    return [Mamba(inner, rank, state, taps, eps)] * sizes.layers


def _where_heads(keys: Keys, sizes: Sizes, other: Mixer) -> list[Mixer]:
    """Attention in the layers that have KV heads, `other` elsewhere."""
    heads = Heads(sizes.heads, sizes.kv_heads, sizes.head_dim)
    counts = keys.by_layer("attention.head_count_kv", sizes.layers, sizes.heads)
    return [heads if count else other for count in counts]


def _mamba2_or_attention(keys: Keys, sizes: Sizes) -> list[Mixer]:
    return _where_heads(keys, sizes, replace(_mamba2(keys), least_step=keys.family.least_step))


def _attention_and_mamba2(keys: Keys, sizes: Sizes) -> list[Mixer]:
    heads = Heads(sizes.heads, sizes.kv_heads, sizes.head_dim)
    return [HeadsAndSpace(heads, _mamba2(keys))] * sizes.layers


def _conv_or_attention(keys: Keys, sizes: Sizes) -> list[Mixer]:
    return _where_heads(keys, sizes, ShortConv(sizes.hidden, keys.positive("shortconv.l_cache")))


def _one_per_layer(keys: Keys, sizes: Sizes) -> list[Mixer]:
    widths = keys.by_layer("feed_forward_length", sizes.layers, 0)
    mixers = _mamba2_or_attention(keys, sizes)
    return [
        NoMixer() if width and not isinstance(mixer, Heads) else mixer
        for mixer, width in zip(mixers, widths, strict=True)
    ]


def _latent(keys: Keys, sizes: Sizes) -> list[Mixer]:
    rank, rope = keys.positive("attention.kv_lora_rank"), sizes.n_rot
    whole = keys.positive("attention.key_length_mla", keys.positive("attention.key_length", sizes.head_dim))
    value = keys.positive(
        "attention.value_length_mla", keys.positive("attention.value_length", sizes.hidden // sizes.heads)
    )
    if not rope < whole:
        raise keys.malformed("rope.dimension_count", f"is {rope}, expected less than the head's {whole}")
    return [Latent(sizes.heads, rank, whole - rope, rope, value)] * sizes.layers


def _two_sizes(keys: Keys, sizes: Sizes) -> list[Mixer]:
    """Attention whose sliding layers have another head size."""
    windows = keys.windows(sizes.layers)
    counts = keys.by_layer("attention.head_count_kv", sizes.layers, sizes.heads)
    sliding = keys.positive("attention.key_length_swa", sizes.head_dim)
    return [
        Heads(sizes.heads, count, sizes.head_dim if window is None else sliding)
        for count, window in zip(counts, windows, strict=True)
    ]


def _own_heads(keys: Keys, sizes: Sizes) -> list[Mixer]:
    """Attention with numbers of heads per layer, from two keys."""
    counts = keys.by_layer("attention.head_count", sizes.layers, sizes.heads)
    kv_counts = keys.by_layer("attention.head_count_kv", sizes.layers, sizes.heads)
    for layer, (heads, kv_heads) in enumerate(zip(counts, kv_counts, strict=True)):
        if not kv_heads or heads % kv_heads:
            what = f"is {kv_heads} in layer {layer}, which does not divide its {heads} heads"
            raise keys.malformed("attention.head_count_kv", what)
    value_dim = None if sizes.value_dim == sizes.head_dim else sizes.value_dim
    return [
        Heads(heads, kv_heads, sizes.head_dim, value_dim)
        for heads, kv_heads in zip(counts, kv_counts, strict=True)
    ]


MIXERS: Mapping[str, Callable[[Keys, Sizes], list[Mixer]]] = {
    "attention": _attention,
    "delta net or attention": _delta_net,
    "mamba": _mamba,
    "mamba2": _all_mamba2,
    "mamba2 or attention": _mamba2_or_attention,
    "attention and mamba2": _attention_and_mamba2,
    "short convolution or attention": _conv_or_attention,
    "one per layer": _one_per_layer,
    "latent": _latent,
    "two sizes": _two_sizes,
    "own heads": _own_heads,
}
