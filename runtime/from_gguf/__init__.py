"""Read a GGUF file as llama.cpp does: its keys and tensors as `Traits`, and its weights for the decoder.

This reading uses neither the converter nor the folder reading: their agreement means something only because of that.
`read_traits` needs no torch; `weights.build_weights` does.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from llorch.formats.gguf import Header, TensorData
from llorch.formats.quants import decode
from llorch.runtime.from_gguf.facts import OWN_GATE, SUB_NORMS, ArchitectureFacts
from llorch.runtime.from_gguf.keys import Keys, Sizes, read_sizes
from llorch.runtime.from_gguf.kinds import read_kinds
from llorch.runtime.from_gguf.layout import check_layout, gates_heads
from llorch.runtime.from_gguf.rope import ropes
from llorch.runtime.from_gguf.scales import read_scales
from llorch.runtime.traits import FfnKind, NormKind, Routing, Streams, Temperature, Traits, common_heads


def read_traits(header: Header, data: TensorData) -> tuple[Traits, ArchitectureFacts]:
    """The traits of the model in a header, with its layout checked; of the weights, only the RoPE factors are read."""
    keys = Keys(header)
    family, sizes = keys.family, read_sizes(keys, header)
    kinds = read_kinds(keys, sizes, header.tensors)
    check_layout(header, family, sizes, kinds)

    def factors(name: str) -> tuple[float, ...] | None:
        tensor = header.tensors.get(name)
        return None if tensor is None else tuple(decode(tensor.type, data.read(tensor)).tolist())

    windows, scales = keys.windows(sizes.layers), read_scales(keys, sizes)
    norm = _norm_kind(keys, family)
    eps = "attention.layer_norm_rms_epsilon" if norm == "rms" else "attention.layer_norm_epsilon"
    eps = family.eps or eps
    common = common_heads([kind.mixer for kind in kinds], sizes.heads)
    alike = all(kind.mixer == common for kind in kinds)
    own_keys = all(kind.keys_from == layer for layer, kind in enumerate(kinds))
    layer_ropes = ropes(keys, sizes, windows, factors)
    plain_norm = family.plain_head_norm and sizes.experts != WITHOUT_PLAIN_NORM
    traits = Traits(
        vocabulary_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        n_ctx=sizes.n_ctx,
        heads=common.heads,
        kv_heads=common.kv_heads,
        head_dim=common.head_dim,
        norm=norm,
        norm_eps=keys.number(eps),
        activation=family.activation,
        windows=windows,
        ropes=layer_ropes,
        attention_scale=scales.attention,
        pairs=family.pairs,
        head_norm="head" if plain_norm else _head_norm(header, family),
        parallel=_is_parallel(keys, header, family),
        two_norms=_is_parallel(keys, header, family) and f"blk.0.{family.two_norms}" in header.tensors,
        chunks=tuple(None if rope is None else family.chunk for rope in layer_ropes) if family.chunk else (),
        alibi=_alibi(keys, sizes, family),
        learned_positions=family.learned_positions,
        embedding_norm=family.embedding_norm,
        qkv_clamp=(keys.number("attention.clamp_kqv", 0.0) or None) if family.clamps else None,
        plain_head_norm=plain_norm,
        streams=_streams(keys, family),
        sparsity=_sparsity(keys, sizes, family),
        routing=_routing(keys, sizes, header) if any("mixture" in kind.ffn for kind in kinds) else None,
        mixers=() if alike else tuple(kind.mixer for kind in kinds),
        ffns=_networks([kind.ffn for kind in kinds]),
        keys_from=() if own_keys else tuple(kind.keys_from for kind in kinds),
        output_gate=family.output_gate or OWN_GATE in family.required,
        softplus_gate=family.softplus_gate,
        head_gate=family.softplus_gate and gates_heads(header, kinds),
        sinks=family.sinks,
        value_norm=family.value_norm,
        value_scale=scales.value,
        sub_norms=SUB_NORMS[0] in family.required,
        head_norm_after_rope=family.head_norm_after_rope and (plain_norm or not family.plain_head_norm),
        layer_embedding=header.metadata.integer(keys.full("embedding_length_per_layer_input"), 0),
        temperature=_temperature(keys, sizes),
        embedding_scale=scales.embedding,
        residual_scale=scales.residual,
        logit_scale=scales.logit,
        attention_softcap=scales.attention_softcap,
        logit_softcap=scales.logit_softcap,
    )
    return traits, family


def _norm_kind(keys: Keys, family: ArchitectureFacts) -> NormKind:
    if family.norm != "by epsilon":
        return family.norm
    return "rms" if keys.number("attention.layer_norm_rms_epsilon", 0.0) else "layer"


def _networks(kinds: list[FfnKind]) -> tuple[FfnKind, ...]:
    """Each layer's kind of network; empty if all layers have one and the same kind."""
    return tuple(kinds) if len(set(kinds)) > 1 or "none" in kinds else ()


def _head_norm(header: Header, family: ArchitectureFacts) -> Literal["head", "row"] | None:
    there = any(name.endswith(".attn_q_norm.weight") for name in header.tensors)
    if family.head_norms is None or not there:
        return None
    return "row" if family.head_norms == "row" else "head"


WITHOUT_PLAIN_NORM = 128  # experts of Llama 4 Maverick, which has no norm of heads: src/models/llama4.cpp


def _alibi(keys: Keys, sizes: Sizes, family: ArchitectureFacts) -> float:
    """Largest exponent of the ALiBi slopes, from the family or a key; 0 without ALiBi."""
    if sizes.layers == family.alibi_layers:
        return 8.0
    if family.alibi is None:
        return 0.0
    return family.alibi or keys.number("attention.max_alibi_bias", 0.0)


def _streams(keys: Keys, family: ArchitectureFacts) -> Streams | None:
    if not family.streams:
        return None
    count, active = (
        keys.positive("altup.num_inputs"),
        keys.metadata.integer(keys.full("altup.active_idx"), 0),
    )
    if not 0 <= active < count:
        raise keys.malformed("altup.active_idx", f"is {active} of {count}")
    return Streams(count, active)


def _sparsity(keys: Keys, sizes: Sizes, family: ArchitectureFacts) -> tuple[float | None, ...]:
    """Standard deviations above the mean, per layer; None for a layer without sparsity, which the key gives as −∞."""
    if not family.streams:
        return ()
    name = "activation_sparsity_scale"
    value = keys.metadata.get(keys.full(name))
    if value is None:
        sparse = min(SPARSE_LAYERS, sizes.layers)
        return (SPARSE_SCALE,) * sparse + (None,) * (sizes.layers - sparse)
    scales = [float(scale) for scale in np.asarray(value.data, np.float64).reshape(-1)]
    if len(scales) != sizes.layers or any(math.isnan(scale) or scale == math.inf for scale in scales):
        raise keys.malformed(name, f"is {scales}, expected {sizes.layers} numbers")
    return tuple(None if scale == -math.inf else scale for scale in scales)


SPARSE_LAYERS, SPARSE_SCALE = 10, 1.6448533535003662  # Gemma 3n's in src/models/models.h


def _is_parallel(keys: Keys, header: Header, family: ArchitectureFacts) -> bool:
    if family.parallel == "use_parallel_residual":
        return keys.metadata.flag(keys.full("use_parallel_residual"))
    if family.parallel == "without ffn_norm":
        return "blk.0.ffn_norm.weight" not in header.tensors
    return family.parallel


GATING: dict[int, Literal["softmax", "sigmoid", "softmax of the chosen"]] = {
    1: "softmax",
    2: "sigmoid",
    3: "softmax of the chosen",
}


def _routing(keys: Keys, sizes: Sizes, header: Header) -> Routing | None:
    """How experts are routed. Source: llama.cpp, src/llama-graph.cpp, `build_moe_ffn`."""
    family = keys.family
    if not sizes.experts:
        return None
    gating = keys.metadata.integer(keys.full("expert_gating_func"), 0) or family.gating
    if family.scales == "latent" and not keys.metadata.integer(keys.full("expert_gating_func"), 0):
        gating = 2 if sizes.vocabulary == GLM_FLASH_VOCABULARY else 1
    if family.gating_of_chosen and gating == 1:
        gating = 3
    if gating not in GATING:
        raise keys.malformed("expert_gating_func", f"is {gating}; known are {', '.join(map(str, GATING))}")
    groups = keys.metadata.integer(keys.full("expert_group_count"), 0) or 1
    used = keys.metadata.integer(keys.full("expert_group_used_count"), 0) or groups
    if sizes.experts % groups or not 0 < used <= groups:
        raise keys.malformed("expert_group_count", f"is {groups}, of {sizes.experts} experts, {used} used")
    if family.sparse_mixer:
        return Routing(
            sizes.experts,
            sizes.experts_used,
            False,
            "sparse mixer",
            group_worth="best",
            jitter=family.sparse_mixer,
        )
    normed = keys.flag("expert_weights_norm", family.experts_renormalised)
    there = any(name.endswith(".ffn_up_shexp.weight") for name in header.tensors)
    share = 0.5 if family.averages and there else 1.0
    return Routing(
        sizes.experts,
        sizes.experts_used,
        normed,
        GATING[gating],
        share * (keys.decimal("expert_weights_scale", 1.0) or 1.0),
        groups if used < groups else 1,
        used if used < groups else 1,
        "two best" if GATING[gating] == "sigmoid" else "best",
        family.weighs_input,
        shared_scale=share,
    )


# GLM Flash: its first files have no gating key; llama.cpp, src/models/deepseek2.cpp
GLM_FLASH_VOCABULARY = 154880


def _temperature(keys: Keys, sizes: Sizes) -> Temperature | None:
    if keys.family.floor_temperature is not None:
        return keys.family.floor_temperature
    beta = keys.decimal("attention.temperature_scale", keys.family.temperature_beta)
    if not keys.family.temperature or not beta:
        return None
    return Temperature(beta, keys.positive("rope.scaling.original_context_length", sizes.n_ctx))
