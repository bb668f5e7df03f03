"""Values of config.json that follow from other facts: defaults of keys, and rules built into llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

from llorch.converter.schema.architecture import Evidence, Sizes
from llorch.converter.schema.block_sizes import gates_heads
from llorch.converter.schema.keys import Keys


def same_as(size: str) -> Callable[[Sizes], object]:
    """Return a function that gives a size, as the default of a key."""
    return lambda sizes: sizes[size]


def inverse_root_of_head_dim(sizes: Sizes) -> float:
    """Return 1 / √head_dim, the usual scale of attention scores: llama.cpp's default for `attention.scale`."""
    return 1 / math.sqrt(sizes["head_dim"])


def query_scale_of(layers_of_27b: int) -> Callable[[Evidence], object]:
    """query_pre_attn_scalar: head_dim, but hidden_size / heads for the 27B model, recognized by its number of layers.

    Source: llama.cpp, src/models/gemma2.cpp and gemma3.cpp, which have the same rule built in.
    """

    def query_pre_attn_scalar(evidence: Evidence) -> object:
        sizes = evidence.sizes
        return sizes["hidden"] // sizes["heads"] if sizes["layers"] == layers_of_27b else sizes["head_dim"]

    return query_pre_attn_scalar


def every_nth_full(n: int) -> Callable[[Evidence], object]:
    """layer_types: layer i has full attention if (i + 1) is a multiple of n, else sliding.

    `attention.sliding_window_pattern` has precedence: it is another n, or says for each layer whether it slides.
    """

    def layer_types(evidence: Evidence) -> object:
        slides = _sliding_pattern(evidence.keys, evidence.sizes["layers"], n)
        return ["sliding_attention" if s else "full_attention" for s in slides]

    return layer_types


def every_nth_full_from_the_first(n: int, *, windowed: bool = False) -> Callable[[Evidence], object]:
    """layer_types as by `every_nth_full`, except that layer i has full attention if i itself is a multiple of n.

    windowed: all layers are full in a model without a window.
    """

    def layer_types(evidence: Evidence) -> object:
        if windowed and not evidence.keys.integer("attention.sliding_window", 0):
            return ["full_attention"] * evidence.sizes["layers"]
        slides = _sliding_pattern(evidence.keys, evidence.sizes["layers"], n, first=True)
        return ["sliding_attention" if s else "full_attention" for s in slides]

    return layer_types


def heads_by_layer(evidence: Evidence) -> object:
    """num_attention_heads_per_layer: the heads of every layer."""
    return evidence.keys.by_layer("attention.head_count", None)


def gate_granularity(evidence: Evidence) -> object:
    """gating: true if gates are per head, else `per-element`."""
    return True if gates_heads(evidence) else "per-element"


def scoring_name(evidence: Evidence) -> object:
    """expert_selection_fn: `sigmoid`, unless the file says softmax."""
    return "softmax" if evidence.keys.integer("expert_gating_func", 2) == 1 else "sigmoid"


def every_nth_full_of_windowed(n: int) -> Callable[[Evidence], object]:
    """layer_types as by `every_nth_full`, but all full for a model without a window."""
    windowed = every_nth_full(n)

    def layer_types(evidence: Evidence) -> object:
        if evidence.keys.integer("attention.sliding_window", 0):
            return windowed(evidence)
        return ["full_attention"] * evidence.sizes["layers"]

    return layer_types


def _sliding_pattern(keys: Keys, layers: int, n: int, *, first: bool = False) -> list[bool]:
    """Return for each layer whether it slides. first: of every n layers the first is full, instead of the last."""
    key = "attention.sliding_window_pattern"
    value = keys.metadata.get(keys.name(key))
    if value is not None and value.type_name.startswith("array"):
        pattern = keys.flags(key)
        if len(pattern) != layers:
            raise keys.wrong(key, f"has {len(pattern)} entries for {layers} layers")
        return pattern
    period = keys.count(key, n)
    return [(layer if first else layer + 1) % period != 0 for layer in range(layers)]


def no_rope_every_fourth(evidence: Evidence) -> object:
    """no_rope_layers: 1 for a layer with rotation, 0 where (i + 1) is a multiple of 4.

    Source: llama.cpp, src/models/smollm3.cpp, `n_no_rope_layer_step`.
    """
    return [int((layer + 1) % 4 != 0) for layer in range(evidence.sizes["layers"])]


def bases_by_layer(evidence: Evidence) -> object:
    """layer_rope_theta: the rope base, or 0 for a layer without rotation according to `attention.rope_pattern`."""
    keys, layers = evidence.keys, evidence.sizes["layers"]
    base = keys.positive("rope.freq_base", 10000.0)
    if not keys.has("attention.rope_pattern"):
        return [base] * layers
    pattern = keys.flags("attention.rope_pattern")
    if len(pattern) != layers:
        raise keys.wrong("attention.rope_pattern", f"has {len(pattern)} entries for {layers} layers")
    return [base if rotates else 0 for rotates in pattern]


def layer_types(
    kinds: Callable[[Evidence], Sequence[str]], names: Mapping[str, str]
) -> Callable[[Evidence], object]:
    """layer_types: the layers' kinds under config.json's names for them."""

    def list_layers(evidence: Evidence) -> object:
        return [names[kind] for kind in kinds(evidence)]

    return list_layers


def alternating_from_sliding(evidence: Evidence) -> object:
    """layer_types: sliding, full, sliding, … Source: llama.cpp, src/models/openai-moe.cpp, `set_swa_pattern(2)`."""
    return [
        "full_attention" if layer % 2 else "sliding_attention" for layer in range(evidence.sizes["layers"])
    ]


def has_tensor(name: str) -> Callable[[Evidence], object]:
    """Return a function that says whether any tensor has a name with this ending."""

    def there(evidence: Evidence) -> object:
        return any(tensor.endswith(name) for tensor in evidence.tensors)

    return there


def size(name: str) -> Callable[[Evidence], object]:
    """Return a function that gives a size."""
    return lambda evidence: evidence.sizes[name]


def size_or_none(name: str) -> Callable[[Evidence], object]:
    """Return a function that gives a size, or None if the file does not have it."""
    return lambda evidence: evidence.sizes.get(name)


def in_every_layer(value: str | int) -> Callable[[Evidence], object]:
    """Return a function that gives a list with the same number for every layer: a size, or a constant."""
    return lambda evidence: (
        [evidence.sizes[value] if isinstance(value, str) else value] * evidence.sizes["layers"]
    )


def keys_are_values(evidence: Evidence) -> object:
    """attention_k_eq_v: whether a layer has keys and no values of its own."""
    names = evidence.tensors.keys()
    return any(
        f"blk.{layer}.attn_k.weight" in names and f"blk.{layer}.attn_v.weight" not in names
        for layer in range(evidence.sizes["layers"])
    ) and not any(name.endswith(".attn_qkv.weight") for name in names)


def full_layers_differ(evidence: Evidence) -> object:
    """per_layer_config: head_dim of the layers with full attention, and their key-value heads if those differ."""
    sizes = evidence.sizes
    differs = {"head_dim": sizes["full_head_dim"]}
    if sizes["full_kv_heads"] != sizes["kv_heads"]:
        differs["num_key_value_heads"] = sizes["full_kv_heads"]
    return {
        str(layer): differs
        for layer, slides in enumerate(evidence.keys.flags("attention.sliding_window_pattern"))
        if not slides
    }


def widths_double(evidence: Evidence) -> object:
    """use_double_wide_mlp: whether the layers that share keys are twice as wide as the others."""
    return len(set(evidence.keys.by_layer("feed_forward_length", 0))) > 1


def position_embedding(evidence: Evidence) -> object:
    """position_embedding_type: `nope` if `rope.scaling.finetuned` is false, else `rope`."""
    return "rope" if evidence.keys.flag("rope.scaling.finetuned", True) else "nope"


def expansion(evidence: Evidence) -> object:
    """Return the inner size of a state-space layer divided by the hidden size."""
    return evidence.sizes["inner"] // evidence.sizes["hidden"]


def group_choice(evidence: Evidence) -> object:
    """topk_method of DeepSeek V2: by group if there are several."""
    return "group_limited_greedy" if evidence.keys.integer("expert_group_count", 0) > 1 else "greedy"


def types_by_rotation(evidence: Evidence) -> object:
    """layer_types of Llama 4: every fourth layer has full attention and no rotation, the others chunked attention."""
    layers = range(evidence.sizes["layers"])
    return ["chunked_attention" if (layer + 1) % 4 else "full_attention" for layer in layers]


def layers_of_kind(kinds: Callable[[Evidence], Sequence[str]], kind: str) -> Callable[[Evidence], object]:
    """Return a function that gives the numbers of the layers of one kind."""

    def list_layers(evidence: Evidence) -> object:
        return [layer for layer, found in enumerate(kinds(evidence)) if found == kind]

    return list_layers


def unless_so_many_experts(count: int) -> Callable[[Evidence], object]:
    """False for the one model with `count` experts. Source: llama.cpp, src/models/llama4.cpp, `use_kq_norm`."""
    return lambda evidence: evidence.sizes["experts"] != count


def widths_by_layer(evidence: Evidence) -> object:
    """intermediate_size: the feed-forward width of every layer."""
    return evidence.keys.by_layer("feed_forward_length", evidence.sizes["ff"])


SPARSE_LAYERS, SPARSE_SHARE = 10, 0.95  # Gemma 3n's defaults: llama.cpp, src/models/models.h


def sparsity_shares(evidence: Evidence) -> object:
    """activation_sparsity_pattern: the normal distribution's share below each layer's number of standard deviations.

    −∞ gives 0. The share is the shortest decimal that gives back the key's float32 within its rounding.
    Source: llama.cpp, conversion/gemma.py, which writes the inverse of the distribution.
    """
    keys, layers = evidence.keys, evidence.sizes["layers"]
    name = "activation_sparsity_scale"
    value = keys.metadata.get(keys.name(name))
    keys.used.add(keys.name(name))
    if value is None:
        sparse = min(SPARSE_LAYERS, layers)
        return [SPARSE_SHARE] * sparse + [0.0] * (layers - sparse)
    scales = [float(scale) for scale in value.data] if hasattr(value.data, "__iter__") else []
    if len(scales) != layers or any(math.isnan(scale) or scale == math.inf for scale in scales):
        raise keys.wrong(name, f"has {len(scales)} numbers for {layers} layers")
    return [0.0 if scale == -math.inf else _share(scale) for scale in scales]


def _share(scale: float) -> float:
    share = NormalDist().cdf(scale)
    shorter = (round(share, digits) for digits in range(1, 17))
    return next(
        (
            short
            for short in shorter
            if 0 < short < 1 and abs(NormalDist().inv_cdf(short) - scale) <= 2e-7 * max(1.0, abs(scale))
        ),
        share,
    )


def rotary_share(evidence: Evidence) -> object:
    """Return the rotated share of a head."""
    return evidence.sizes["rope_dim"] / evidence.sizes["head_dim"]


def how_many(part: str, whole: str, key: str) -> Callable[[Evidence], object]:
    """Return a function that gives `whole` / `part`, two sizes; if it is not an integer, the error names `key`."""

    def ratio(evidence: Evidence) -> object:
        times, rest = divmod(evidence.sizes[whole], evidence.sizes[part])
        if rest:
            what = f"is {evidence.sizes[whole]}, no multiple of {evidence.sizes[part]}"
            raise evidence.keys.wrong(key, what)
        return times

    return ratio


def mpt_attention(evidence: Evidence) -> object:
    """attn_config of MPT: ALiBi, and the clipping of queries, keys and values (0 means none)."""
    clip = evidence.keys.decimal("attention.clamp_kqv", 0.0)
    return {
        "alibi": True,
        "alibi_bias_max": 8,
        "attn_impl": "torch",
        "attn_pdrop": 0,
        "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False,
        "clip_qkv": clip or None,
        "prefix_lm": False,
        "qk_ln": False,
        "softmax_scale": None,
    }


def dbrx_attention(evidence: Evidence) -> object:
    """attn_config of DBRX: key-value heads, the clipping of queries, keys and values, and the rope base."""
    keys = evidence.keys
    return {
        "clip_qkv": keys.decimal("attention.clamp_kqv") or None,
        "kv_n_heads": evidence.sizes["kv_heads"],
        "rope_theta": keys.positive("rope.freq_base", 10000.0),
    }


def dbrx_experts(evidence: Evidence) -> object:
    """ffn_config of DBRX; the weights of the chosen experts are divided by their sum (1-norm)."""
    return {
        "ffn_act_fn": {"name": "silu"},
        "ffn_hidden_size": evidence.sizes["ff"],
        "moe_jitter_eps": 0.01,
        "moe_loss_weight": 0.05,
        "moe_normalize_expert_weights": 1.0,
        "moe_num_experts": evidence.sizes["experts"],
        "moe_top_k": evidence.sizes["experts_used"],
    }


def usual_residual_scale(sizes: Sizes) -> float:
    """Return MiniCPM's default residual scale. Source: llama.cpp, src/models/minicpm.cpp."""
    return 1.4 / math.sqrt(sizes["layers"])


def usual_logit_divisor(sizes: Sizes) -> float:
    """Return MiniCPM's default logit divisor. Source: llama.cpp, src/models/minicpm.cpp."""
    return sizes["hidden"] / 256
