"""The table of facts that describes a class of transformers for the folder reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llorch.runtime.traits import NormKind, RotaryPairs, Scores

Names = Mapping[str, str]

Bias = bool | str
"""Whether a linear layer has a bias, or the config key that says so."""


def biases(roles: str, said_by: Bias) -> dict[str, Bias]:
    """The same answer for several roles, separated by spaces."""
    return dict.fromkeys(roles.split(), said_by)


@dataclass(frozen=True, slots=True)
class Experts:
    """The config keys of a mixture.

    count: alternative spellings of the key for the number of experts. used: key of the number used per token, one
        number or a list of the same for every layer.
    renormalised: a key, or what the class always does. width, shared_width: keys of the experts' widths.
    shared_count: key of the number of shared experts, if `shared_width` is the width of one.
    scores, group_worth, weighs_input: as in `Routing`. scale, groups, groups_used, jitter: keys.
    scores_key: the key that names the scores, where a softmax is over the chosen experts. combined: the key of whether
        the shared experts' output is added to the routed experts', or averaged with it.
    """

    count: tuple[str, ...]
    renormalised: Bias
    width: str
    shared_width: str | None = None
    shared_count: str | None = None
    used: str = "num_experts_per_tok"
    scores: Scores = "softmax"
    scale: str | None = None
    groups: str | None = None
    groups_used: str | None = None
    group_worth: Literal["two best", "best"] = "two best"
    weighs_input: bool = False
    jitter: str | None = None
    scores_key: str | None = None
    combined: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFacts:
    """One class's facts. A key is a key of config.json.

    class_name: the entry of `architectures`. other_names: other entries for the same class.
    mxfp4: roles of the experts if config.json says that they are MXFP4, instead of the float ones.
    names: roles → names; `{e}` stands for an expert's number, `{h}` for a head's. A name that begins with `=` is
        complete, without `.weight`.
    by_kind: further names, for layers of one kind (`kinds.py` has the words); outside: names outside the layers.
    mixers, ffns: how the layers' kinds are determined, keys of `kinds.MIXERS` and `kinds.FFNS`; types_key: key of the
        list of layer types.
    head_norm_after_rope, sinks, value_norm, temperature, shares_keys: as in `Traits`. output_gate: the output gate's
        rows are interleaved with the query's. keys_as_values: whether some layers use their keys as values.
        layer_embedding: whether the class has per-layer token embeddings.
    softplus_gate: key that says whether the softplus gate on attention's output has one row per head.
    full_attention_rope: whether the full-attention layers of a model with sliding ones have RoPE, or only the dense.
    experts_transposed: experts are stored as (in, out), with alternating columns of gate and up.
    embedding, layers: names of the embedding and of the list of layers. predicts: pattern of multi-token-prediction
        tensors, which the class ignores; beyond: key of how many such layers follow the model's own.
    biases: which linear roles have biases; the others have none.
    rms_eps: key of another epsilon; if it is a number, the norms are RMS norms with it.
    norm_bias: whether norms have biases (norms of heads never do). bare_norms: roles of norms without a weight; if
        there are any, the final norm has none either.
    defaults: the configuration class's values for absent keys.
    supported: keys, with the only values that the decoder implements.
    head_norm: as in `Traits`; `head_norm_key` switches it.
    windows: in no layers, in all, or by `layer_types`; `types` says how that list is derived if it is absent.
    window_switch: a key that must be true for windows to apply. window_before: a key that, if present, gives the window
        without the query's own position. value_multiplier: key of the factor on values.
    latent_eps: of the norms of latent vectors, if it differs from the other norms'.
    residual_depth: key of a number that divided by √layers is the residual scale. logit_base: key of a width; the
        logits are multiplied by it over the hidden size.
    nested_rope: whether sliding and other layers have separate RoPE parameters. older_base: of such a class, the
        key that transformers 4 reads the sliding layers' base from; None if only transformers 5 has the class.
    partial_rotary: default of `partial_rotary_factor`; None if the class rotates whole heads.
    no_rope_layers: whether the class has that list. layer_bases: key of a list with each layer's RoPE base, 0 for no
        RoPE. mscales: LongRoPE's factor on cosine and sine comes from two keys, for short and for long sequences.
    …_multiplier, …_scalar, …_softcap, logit_divisor: keys of the scales in `Traits`; the logits are divided by
        logit_divisor. embedding_scale_switch: a key that must be true for `embedding_scale` to apply.
    keys: the usual key → the class's own, `part.key` if it is nested. head: name of the output projection.
    width: key of the feed-forward width; width_ratio: key of its ratio to the hidden size; usual_width: that ratio if
        the key is absent.
    single_kv_head: a key that says that all queries share one KV head. two_norms: in a parallel block, the
        feed-forward network has its own norm; norm_count: key of the number of norms. qkv_by_kv_head: fused rows are
        stored per KV head, as its queries, key and value. transposed: roles stored as (in, out).
    alibi: largest exponent of the slopes. clamp: key of the bound of queries, keys and values, `part.key` if nested.
        plain_head_norm: a key that switches the weightless norm of heads with RoPE. more_types: known entries of
        `layer_types` beside the usual two. floor_temperature, streams: whether the class has keys for these traits.
    normed_space: a key that switches the norm after a state space's gate. multipliers: roles → keys of the factors on
        their outputs (`multipliers.py`).
    """

    class_name: str
    names: Names
    other_names: tuple[str, ...] = ()
    norm: NormKind = "rms"
    eps: str = "rms_norm_eps"
    rms_eps: str | None = None
    activation: str = "hidden_act"
    pairs: RotaryPairs = "halves"
    biases: Mapping[str, Bias] = field(default_factory=dict)
    norm_bias: bool = False
    bare_norms: tuple[str, ...] = ()
    final_norm: str = "model.norm"
    defaults: Mapping[str, object] = field(default_factory=dict)
    supported: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    norm_offset: float = 0.0
    head_norm: Literal["head", "row"] | None = None
    head_norm_key: str | None = None
    parallel: Bias = False
    experts: Experts | None = None
    windows: Literal["no layers", "all layers", "layer types"] = "no layers"
    window_switch: str | None = None
    window_before: str | None = None
    value_multiplier: str | None = None
    types: Literal[
        "all full",
        "by depth",
        "alternating by depth",
        "periodic",
        "full first",
        "behind a dense prefix",
        "without rope",
        "sliding first",
    ] = "all full"
    nested_rope: bool = False
    older_base: str | None = None
    partial_rotary: float | None = None
    no_rope_layers: bool = False
    layer_bases: str | None = None
    mscales: bool = False
    embedding_scale: Literal["sqrt"] | None = None
    embedding_scale_switch: str | None = None
    attention_scalar: str | None = None
    attention_multiplier: str | None = None
    embedding_multiplier: str | None = None
    residual_multiplier: str | None = None
    residual_depth: str | None = None
    logit_divisor: str | None = None
    logit_base: str | None = None
    latent_eps: float | None = None
    logit_multiplier: str | None = None
    attention_softcap: str | None = None
    logit_softcap: str | None = None
    by_kind: Mapping[str, Names] = field(default_factory=dict)
    outside: Names = field(default_factory=dict)
    mixers: str = "attention"
    ffns: str = "alike"
    types_key: str = "layer_types"
    full_attention_rope: bool | Literal["where dense"] = True
    head_norm_after_rope: bool = False
    output_gate: bool = False
    softplus_gate: str | None = None
    sinks: bool = False
    value_norm: bool = False
    temperature: bool = False
    shares_keys: bool = False
    keys_as_values: bool = False
    layer_embedding: bool = False
    experts_transposed: bool = False
    unscaled_attention: bool = False
    rotates: bool | str = True
    fixed_activation: str | None = None
    embedding: str = "model.embed_tokens"
    layers: str = "model.layers"
    predicts: str | None = None
    beyond: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    head: str = "lm_head"
    width: str = "intermediate_size"
    width_ratio: str | None = None
    usual_width: int | None = None
    single_kv_head: str | None = None
    two_norms: bool = False
    norm_count: str | None = None
    qkv_by_kv_head: bool = False
    transposed: frozenset[str] = frozenset()
    alibi: float = 0.0
    clamp: str | None = None
    plain_head_norm: str | None = None
    more_types: tuple[str, ...] = ()
    floor_temperature: bool = False
    streams: bool = False
    mxfp4: Names = field(default_factory=dict)
    normed_space: str | None = None
    multipliers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def class_defaults(**own: object) -> dict[str, object]:
    """Defaults that most configuration classes share, updated by a class's own."""
    common = {
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "sliding_window": None,
    }
    return {**common, **own}
