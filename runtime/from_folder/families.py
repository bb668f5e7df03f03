"""How transformers reads each `model_type`: one row of facts a class.

Sources: transformers 5.23, models/<model_type>/modeling_*.py (names, arithmetic) and configuration_*.py (keys and their
defaults). A role is what the decoder calls a weight; its name is what stands between `model.layers.{i}.` and `.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llorch.runtime.traits import NormKind, RotaryPairs

Names = Mapping[str, str]

ATTENTION: Names = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "output": "self_attn.o_proj",
}
NORMS: Names = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
GATED: Names = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
HEAD_NORMS: Names = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
EXPERTS: Names = {
    "router": "mlp.gate",
    "expert_gate": "mlp.experts.{e}.gate_proj",
    "expert_up": "mlp.experts.{e}.up_proj",
    "expert_down": "mlp.experts.{e}.down_proj",
}
SHARED: Names = {
    "shared_router": "mlp.shared_expert_gate",
    "shared_gate": "mlp.shared_expert.gate_proj",
    "shared_up": "mlp.shared_expert.up_proj",
    "shared_down": "mlp.shared_expert.down_proj",
}
LLAMA: Names = {**ATTENTION, **NORMS, **GATED}
POST_NORMS: Names = {
    "attention_post_norm": "post_attention_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}
GEMMA2: Names = {**LLAMA, **POST_NORMS, "ffn_norm": "pre_feedforward_layernorm"}

CHOICE_BIAS: Names = {"choice_bias": "=mlp.gate.e_score_correction_bias"}
SHARED_EXPERTS: Names = {
    "shared_gate": "mlp.shared_experts.gate_proj",
    "shared_up": "mlp.shared_experts.up_proj",
    "shared_down": "mlp.shared_experts.down_proj",
}
DELTA_NET: Names = {
    "conv": "linear_attn.conv1d",
    "a_log": "=linear_attn.A_log",
    "step_bias": "=linear_attn.dt_bias",
    "gated_norm": "linear_attn.norm",
    "mixer_output": "linear_attn.out_proj",
}
DELTA_NET_APART: Names = {
    **DELTA_NET,
    "delta_qkv": "linear_attn.in_proj_qkv",
    "delta_z": "linear_attn.in_proj_z",
    "delta_a": "linear_attn.in_proj_a",
    "delta_b": "linear_attn.in_proj_b",
}
DELTA_NET_BY_KEY_HEAD: Names = {
    **DELTA_NET,
    "delta_qkvz": "linear_attn.in_proj_qkvz",
    "delta_ba": "linear_attn.in_proj_ba",
}
SHORT_CONV: Names = {
    "short_in": "conv.in_proj",
    "conv": "conv.conv",
    "mixer_output": "conv.out_proj",
}
LATENT_QUERIES: Mapping[str, Names] = {
    "low rank queries": {
        "q_down": "self_attn.q_a_proj",
        "latent_q_norm": "self_attn.q_a_layernorm",
        "latent_q_up": "self_attn.q_b_proj",
    },
    "whole queries": {"latent_q": "self_attn.q_proj"},
}
LFM2_NORMS: Names = {"attention_norm": "operator_norm", "ffn_norm": "ffn_norm"}
LFM2_DENSE: Names = {"gate": "feed_forward.w1", "up": "feed_forward.w3", "down": "feed_forward.w2"}
LFM2_ATTENTION: Names = {
    **ATTENTION,
    "output": "self_attn.out_proj",
    "q_norm": "self_attn.q_layernorm",
    "k_norm": "self_attn.k_layernorm",
}


def mamba2(below: str) -> Names:
    """The names of a Mamba 2 mixer below another name."""
    return {
        "mamba_in": f"{below}.in_proj",
        "conv": f"{below}.conv1d",
        "conv_bias": f"={below}.conv1d.bias",
        "a_log": f"={below}.A_log",
        "skip": f"={below}.D",
        "step_bias": f"={below}.dt_bias",
        "gated_norm": f"{below}.norm",
        "mixer_output": f"{below}.out_proj",
    }


Bias = bool | str
"""Whether a linear layer has a bias, or the key that says so."""


def biases(roles: str, said_by: Bias) -> dict[str, Bias]:
    """The same answer for several roles."""
    return dict.fromkeys(roles.split(), said_by)


@dataclass(frozen=True, slots=True)
class Experts:
    """Keys of a mixture; `count` may be spelled in several ways.

    renormalised: a key, or what the class always does. width, shared_width: keys of the experts' widths.
    shared_count: the key of how many experts' widths the shared network has, where `shared_width` is that of one.
    used: the key of how many are chosen. scores, group_worth, weighs_input: as in `Routing`. scale, groups,
        groups_used: keys.
    """

    count: tuple[str, ...]
    renormalised: Bias
    width: str
    shared_width: str | None = None
    shared_count: str | None = None
    used: str = "num_experts_per_tok"
    scores: Literal["softmax", "sigmoid", "softmax of the chosen"] = "softmax"
    scale: str | None = None
    groups: str | None = None
    groups_used: str | None = None
    group_worth: Literal["two best", "best"] = "two best"
    weighs_input: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFacts:
    """One class's facts.

    class_name: the entry of `architectures` that this row speaks of.
    mxfp4: roles of experts as they are where config.json says that they are MXFP4, instead of the same in floats.
    names: roles to names; `{e}` counts experts, `{h}` heads. `=` before a name: that is all of it, without
        `.weight`.
    by_kind: the same for the layers of one kind (`kinds.py` has the words); outside: for what is outside the layers.
    mixers, ffns: which kind each layer is of; types_key: the list that says it.
    head_norm_after_rope … shares_keys: as in `Traits`. keys_as_values, layer_embedding: whether the class has layers
        without values, and embeddings a layer.
    full_turns: whether layers with full attention are rotated, in a model that has sliding ones.
    experts_transposed: experts are stored (in, out), the gate's columns and the up's in turns.
    embedding, layers: where the embedding and the layers are. predicts: names of what predicts further tokens, which
        the class leaves out; beyond: such layers follow the model's own.
    biases: which linear roles have biases; the others have none.
    norm_bias: whether norms have biases (norms of heads never do).
    defaults: what the configuration class takes for keys that are absent.
    supported: keys with the only values whose arithmetic the decoder has.
    head_norm: how norms of queries and keys apply; `head_norm_key` switches them.
    windows: no layers, all of them, or those of `layer_types`; `types` makes that list when it is absent.
    window_switch: a key that must be true for windows to apply.
    nested_rope: whether sliding and other layers have rotary parameters of their own.
    partial_rotary: default of `partial_rotary_factor`; None where the class rotates whole heads.
    no_rope_layers: whether the class has such a list.
    scale keys: see `Traits`; a divisor is the key of one.
    keys: the decoder's usual keys → the class's own. head: where the output product is. width: the key of the
        feed-forward width; width_ratio: of how many times the hidden size it is; usual_width: that, without a key.
    single_kv_head: a key that says that all queries share one. two_norms: a parallel block's feed-forward has a norm
        of its own; norm_count: the key of how many norms a block has. qkv_by_kv_head: the fused rows are those of one
        key-value head after the other, its queries, key and value. transposed: roles stored (in, out).
    alibi: the largest exponent of its slopes. clamp: the key of the bound of queries, keys and values.
        plain_head_norm: a key that switches the norm of rotated heads without a weight. more_types: known entries of
        `layer_types` beside the usual two. floor_temperature, streams: whether the class has keys for these traits.
    """

    class_name: str
    names: Names
    norm: NormKind = "rms"
    eps: str = "rms_norm_eps"
    activation: str = "hidden_act"
    pairs: RotaryPairs = "halves"
    biases: Mapping[str, Bias] = field(default_factory=dict)
    norm_bias: bool = False
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
    types: Literal[
        "all full", "by depth", "alternating by depth", "periodic", "where not rotated", "sliding first"
    ] = "all full"
    nested_rope: bool = False
    partial_rotary: float | None = None
    no_rope_layers: bool = False
    embedding_scale: Literal["sqrt"] | None = None
    attention_scalar: str | None = None
    attention_multiplier: str | None = None
    embedding_multiplier: str | None = None
    residual_multiplier: str | None = None
    logit_divisor: str | None = None
    logit_multiplier: str | None = None
    attention_softcap: str | None = None
    logit_softcap: str | None = None
    by_kind: Mapping[str, Names] = field(default_factory=dict)
    outside: Names = field(default_factory=dict)
    mixers: str = "attention"
    ffns: str = "alike"
    types_key: str = "layer_types"
    full_turns: bool = True
    head_norm_after_rope: bool = False
    output_gate: bool = False
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


def _class(**own: object) -> dict[str, object]:
    """Defaults of most configuration classes, and a class's own."""
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


ONLY_CAUSAL: Mapping[str, tuple[object, ...]] = {"use_bidirectional_attention": (None, False)}
ALL_SPARSE: Mapping[str, tuple[object, ...]] = {"decoder_sparse_step": (1,), "mlp_only_layers": (None, [])}
WINDOWS_OFF = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
GEMMA = _class(
    num_key_value_heads=16,
    head_dim=256,
    hidden_act="gelu_pytorch_tanh",
    hidden_activation="gelu_pytorch_tanh",
    tie_word_embeddings=True,
    max_position_embeddings=8192,
)

DEEPSEEK_EXPERTS = Experts(
    ("n_routed_experts",),
    "norm_topk_prob",
    "moe_intermediate_size",
    "moe_intermediate_size",
    "n_shared_experts",
    scores="sigmoid",
    scale="routed_scaling_factor",
    groups="n_group",
    groups_used="topk_group",
)
LATENT_CLASS: Any = {
    "names": {
        **NORMS,
        "latent_down": "self_attn.kv_a_proj_with_mqa",
        "latent_norm": "self_attn.kv_a_layernorm",
        "latent_up": "self_attn.kv_b_proj",
        "latent_output": "self_attn.o_proj",
    },
    "mixers": "latent",
    "pairs": "interleaved",
}
QWEN35: Any = {
    "mixers": "delta net or attention",
    "biases": biases("q k v output", "attention_bias"),
    "head_norm": "head",
    "norm_offset": 1.0,
    "output_gate": True,
    "partial_rotary": 0.25,
    "predicts": r"^mtp\.",
}
QWEN35_DEFAULTS = _class(
    num_key_value_heads=2,
    head_dim=256,
    max_position_embeddings=32768,
    linear_conv_kernel_dim=4,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
)
LFM2: Any = {
    "mixers": "lfm2",
    "eps": "norm_eps",
    "head_norm": "head",
    "fixed_activation": "silu",
    "final_norm": "model.embedding_norm",
}
LFM2_DEFAULTS = _class(
    num_key_value_heads=8,
    max_position_embeddings=128000,
    norm_eps=1e-5,
    rope_theta=1e6,
    tie_word_embeddings=True,
    conv_L_cache=3,
    block_auto_adjust_ff_dim=True,
    block_ffn_dim_multiplier=1.0,
    block_multiple_of=256,
)

GPT2: Names = {
    "attention_norm": "ln_1",
    "ffn_norm": "ln_2",
    "qkv": "attn.c_attn",
    "output": "attn.c_proj",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}
GPT2_CLASS: Any = {
    "outside": {"positions": "transformer.wpe"},
    "norm": "layer",
    "eps": "layer_norm_epsilon",
    "norm_bias": True,
    "activation": "activation_function",
    "biases": biases("qkv output up down", True),
    "rotates": False,
    "embedding": "transformer.wte",
    "layers": "transformer.h",
    "final_norm": "transformer.ln_f",
    "keys": {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    "width": "n_inner",
    "usual_width": 4,
}
GPT2_DEFAULTS: Any = {
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}

FAMILIES: dict[str, ClassFacts] = {
    "llama": ClassFacts(
        class_name="LlamaForCausalLM",
        names=LLAMA,
        biases={**biases("q k v output", "attention_bias"), **biases("gate up down", "mlp_bias")},
        defaults=_class(max_position_embeddings=2048),
    ),
    "mistral": ClassFacts(
        class_name="MistralForCausalLM",
        names=LLAMA,
        windows="all layers",
        defaults=_class(num_key_value_heads=8, max_position_embeddings=131072, sliding_window=4096),
    ),
    "mixtral": ClassFacts(
        class_name="MixtralForCausalLM",
        names={
            **ATTENTION,
            **NORMS,
            "router": "block_sparse_moe.gate",
            "expert_gate": "block_sparse_moe.experts.{e}.w1",
            "expert_up": "block_sparse_moe.experts.{e}.w3",
            "expert_down": "block_sparse_moe.experts.{e}.w2",
        },
        experts=Experts(("num_local_experts", "num_experts"), True, "intermediate_size"),
        windows="all layers",
        defaults=_class(
            num_key_value_heads=8,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            rope_theta=1e6,
            num_experts_per_tok=2,
        ),
    ),
    "phi": ClassFacts(
        class_name="PhiForCausalLM",
        names={
            "attention_norm": "input_layernorm",
            **ATTENTION,
            "output": "self_attn.dense",
            "up": "mlp.fc1",
            "down": "mlp.fc2",
        },
        norm="layer",
        eps="layer_norm_eps",
        norm_bias=True,
        biases=biases("q k v output up down head", True),
        final_norm="model.final_layernorm",
        parallel=True,
        partial_rotary=0.5,
        defaults=_class(hidden_act="gelu_new", layer_norm_eps=1e-5, max_position_embeddings=2048),
        supported={"qk_layernorm": (False,)},
    ),
    "phi3": ClassFacts(
        class_name="Phi3ForCausalLM",
        names={
            **NORMS,
            "qkv": "self_attn.qkv_proj",
            "output": "self_attn.o_proj",
            "gate_up": "mlp.gate_up_proj",
            "down": "mlp.down_proj",
        },
        windows="all layers",
        partial_rotary=1.0,
        defaults=_class(
            rms_norm_eps=1e-5, max_position_embeddings=4096, original_max_position_embeddings=4096
        ),
    ),
    "qwen2": ClassFacts(
        class_name="Qwen2ForCausalLM",
        names=LLAMA,
        biases=biases("q k v", True),
        windows="layer types",
        window_switch="use_sliding_window",
        types="by depth",
        defaults=_class(num_key_value_heads=32, max_position_embeddings=32768, **WINDOWS_OFF),
    ),
    "qwen2_moe": ClassFacts(
        class_name="Qwen2MoeForCausalLM",
        names={**ATTENTION, **NORMS, **EXPERTS, **SHARED},
        biases=biases("q k v", "qkv_bias"),
        experts=Experts(
            ("num_experts",), "norm_topk_prob", "moe_intermediate_size", "shared_expert_intermediate_size"
        ),
        windows="layer types",
        window_switch="use_sliding_window",
        types="alternating by depth",
        defaults=_class(
            num_key_value_heads=16,
            max_position_embeddings=32768,
            qkv_bias=True,
            norm_topk_prob=False,
            num_experts=60,
            num_experts_per_tok=4,
            moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632,
            **WINDOWS_OFF,
        ),
        supported=ALL_SPARSE,
    ),
    "qwen3": ClassFacts(
        class_name="Qwen3ForCausalLM",
        names={**LLAMA, **HEAD_NORMS},
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        windows="layer types",
        window_switch="use_sliding_window",
        types="by depth",
        defaults=_class(num_key_value_heads=32, head_dim=128, max_position_embeddings=32768, **WINDOWS_OFF),
    ),
    "qwen3_moe": ClassFacts(
        class_name="Qwen3MoeForCausalLM",
        names={**ATTENTION, **NORMS, **HEAD_NORMS, **EXPERTS},
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        experts=Experts(("num_experts", "num_local_experts"), "norm_topk_prob", "moe_intermediate_size"),
        windows="all layers",
        window_switch="use_sliding_window",
        defaults=_class(
            num_key_value_heads=4,
            max_position_embeddings=32768,
            norm_topk_prob=False,
            num_experts=128,
            num_experts_per_tok=8,
            moe_intermediate_size=768,
            **WINDOWS_OFF,
        ),
        supported=ALL_SPARSE,
    ),
    "gemma": ClassFacts(
        class_name="GemmaForCausalLM",
        names=LLAMA,
        biases=biases("q k v output", "attention_bias"),
        norm_offset=1.0,
        embedding_scale="sqrt",
        defaults=GEMMA,
        supported=ONLY_CAUSAL,
    ),
    "gemma2": ClassFacts(
        class_name="Gemma2ForCausalLM",
        names=GEMMA2,
        activation="hidden_activation",
        biases=biases("q k v output", "attention_bias"),
        norm_offset=1.0,
        windows="layer types",
        types="periodic",
        embedding_scale="sqrt",
        attention_scalar="query_pre_attn_scalar",
        attention_softcap="attn_logit_softcapping",
        logit_softcap="final_logit_softcapping",
        defaults={
            **GEMMA,
            "num_key_value_heads": 4,
            "sliding_window": 4096,
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 256,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        supported=ONLY_CAUSAL,
    ),
    "gemma3_text": ClassFacts(
        class_name="Gemma3ForCausalLM",
        names={**GEMMA2, **HEAD_NORMS},
        activation="hidden_activation",
        biases=biases("q k v output", "attention_bias"),
        norm_offset=1.0,
        head_norm="head",
        windows="layer types",
        types="periodic",
        nested_rope=True,
        embedding_scale="sqrt",
        attention_scalar="query_pre_attn_scalar",
        attention_softcap="attn_logit_softcapping",
        logit_softcap="final_logit_softcapping",
        defaults={
            **GEMMA,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131072,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 4096,
            "sliding_window_pattern": 6,
            "query_pre_attn_scalar": 256,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
        },
        supported=ONLY_CAUSAL,
    ),
    "granite": ClassFacts(
        class_name="GraniteForCausalLM",
        names=LLAMA,
        biases={**biases("q k v output", "attention_bias"), **biases("gate up down", "mlp_bias")},
        attention_multiplier="attention_multiplier",
        embedding_multiplier="embedding_multiplier",
        residual_multiplier="residual_multiplier",
        logit_divisor="logits_scaling",
        defaults=_class(
            max_position_embeddings=2048,
            attention_multiplier=1.0,
            embedding_multiplier=1.0,
            residual_multiplier=1.0,
            logits_scaling=1.0,
        ),
    ),
    "olmo2": ClassFacts(
        class_name="Olmo2ForCausalLM",
        names={**ATTENTION, **GATED, **HEAD_NORMS, **POST_NORMS},
        biases=biases("q k v output", "attention_bias"),
        head_norm="row",
        defaults=_class(max_position_embeddings=2048, rms_norm_eps=1e-5),
    ),
    "olmo3": ClassFacts(
        class_name="Olmo3ForCausalLM",
        names={**ATTENTION, **GATED, **HEAD_NORMS, **POST_NORMS},
        biases=biases("q k v output", "attention_bias"),
        head_norm="row",
        windows="layer types",
        types="periodic",
        nested_rope=True,
        defaults=_class(
            max_position_embeddings=2048,
            rms_norm_eps=1e-5,
            rope_theta=5e5,
            sliding_window=4096,
            sliding_window_pattern=4,
        ),
    ),
    "stablelm": ClassFacts(
        class_name="StableLmForCausalLM",
        names={
            **LLAMA,
            "q_norm": "self_attn.q_layernorm.norms.{h}",
            "k_norm": "self_attn.k_layernorm.norms.{h}",
        },
        norm="layer",
        eps="layer_norm_eps",
        norm_bias=True,
        biases=biases("q k v", "use_qkv_bias"),
        head_norm="head",
        head_norm_key="qk_layernorm",
        parallel="use_parallel_residual",
        partial_rotary=0.25,
        defaults=_class(
            num_key_value_heads=32,
            max_position_embeddings=4096,
            layer_norm_eps=1e-5,
            use_qkv_bias=False,
            qk_layernorm=False,
            use_parallel_residual=False,
        ),
    ),
    "starcoder2": ClassFacts(
        class_name="Starcoder2ForCausalLM",
        names={**ATTENTION, **NORMS, "up": "mlp.c_fc", "down": "mlp.c_proj"},
        norm="layer",
        eps="norm_epsilon",
        norm_bias=True,
        biases=biases("q k v output up down", "use_bias"),
        windows="all layers",
        defaults=_class(
            num_key_value_heads=2,
            hidden_act="gelu_pytorch_tanh",
            max_position_embeddings=4096,
            norm_epsilon=1e-5,
            use_bias=True,
            tie_word_embeddings=True,
        ),
    ),
    "smollm3": ClassFacts(
        class_name="SmolLM3ForCausalLM",
        names=LLAMA,
        biases={**biases("q k v output", "attention_bias"), **biases("gate up down", "mlp_bias")},
        windows="layer types",
        window_switch="use_sliding_window",
        types="where not rotated",
        no_rope_layers=True,
        defaults=_class(
            num_key_value_heads=4,
            max_position_embeddings=32768,
            rope_theta=2e6,
            tie_word_embeddings=True,
            use_sliding_window=False,
            no_rope_layers=None,
            no_rope_layer_interval=4,
        ),
    ),
    "cohere": ClassFacts(
        class_name="CohereForCausalLM",
        names={"attention_norm": "input_layernorm", **ATTENTION, **GATED, **HEAD_NORMS},
        norm="layer",
        eps="layer_norm_eps",
        pairs="interleaved",
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        head_norm_key="use_qk_norm",
        parallel=True,
        logit_multiplier="logit_scale",
        defaults=_class(
            max_position_embeddings=8192,
            layer_norm_eps=1e-5,
            rope_theta=5e5,
            tie_word_embeddings=True,
            use_qk_norm=False,
            logit_scale=0.0625,
        ),
    ),
    "ministral3": ClassFacts(
        class_name="Ministral3ForCausalLM",
        names=LLAMA,
        windows="all layers",
        temperature=True,
        defaults=_class(
            num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-5, max_position_embeddings=262144
        ),
    ),
    "glm4_moe": ClassFacts(
        class_name="Glm4MoeForCausalLM",
        names={**ATTENTION, **NORMS, **HEAD_NORMS},
        by_kind={"dense": GATED, "mixture": {**EXPERTS, **CHOICE_BIAS, **SHARED_EXPERTS}},
        ffns="first_k_dense_replace",
        biases=biases("q k v", "attention_bias"),
        head_norm="head",
        head_norm_key="use_qk_norm",
        experts=DEEPSEEK_EXPERTS,
        partial_rotary=0.5,
        beyond="num_nextn_predict_layers",
        defaults=_class(
            num_key_value_heads=8,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            use_qk_norm=False,
            first_k_dense_replace=1,
            moe_intermediate_size=1408,
            num_experts_per_tok=8,
            n_routed_experts=128,
            n_shared_experts=1,
            routed_scaling_factor=1.0,
            n_group=1,
            topk_group=1,
            norm_topk_prob=True,
        ),
    ),
    "minimax_m2": ClassFacts(
        class_name="MiniMaxM2ForCausalLM",
        names={
            **ATTENTION,
            **NORMS,
            **HEAD_NORMS,
            "router": "block_sparse_moe.gate",
            "choice_bias": "=block_sparse_moe.e_score_correction_bias",
            "expert_gate": "block_sparse_moe.experts.{e}.w1",
            "expert_up": "block_sparse_moe.experts.{e}.w3",
            "expert_down": "block_sparse_moe.experts.{e}.w2",
        },
        head_norm="row",
        experts=Experts(("num_local_experts", "num_experts"), True, "intermediate_size", scores="sigmoid"),
        partial_rotary=1.0,
        defaults=_class(num_key_value_heads=8, head_dim=128, max_position_embeddings=196608, rope_theta=5e6),
        supported={"use_qk_norm": (True,)},
    ),
    "qwen3_5_text": ClassFacts(
        class_name="Qwen3_5ForCausalLM",
        names={**NORMS, **GATED},
        by_kind={"attention": {**ATTENTION, **HEAD_NORMS}, "delta net": DELTA_NET_APART},
        **QWEN35,
        defaults=QWEN35_DEFAULTS,
    ),
    "qwen3_5_moe_text": ClassFacts(
        class_name="Qwen3_5MoeForCausalLM",
        names={**NORMS, **EXPERTS, **SHARED},
        by_kind={"attention": {**ATTENTION, **HEAD_NORMS}, "delta net": DELTA_NET_APART},
        experts=Experts(("num_experts",), True, "moe_intermediate_size", "shared_expert_intermediate_size"),
        **QWEN35,
        defaults=QWEN35_DEFAULTS,
    ),
    "qwen3_next": ClassFacts(
        class_name="Qwen3NextForCausalLM",
        names={**NORMS, **EXPERTS, **SHARED},
        by_kind={"attention": {**ATTENTION, **HEAD_NORMS}, "delta net": DELTA_NET_BY_KEY_HEAD},
        experts=Experts(
            ("num_experts",), "norm_topk_prob", "moe_intermediate_size", "shared_expert_intermediate_size"
        ),
        **QWEN35,
        defaults=_class(**{**QWEN35_DEFAULTS, "norm_topk_prob": True}),
        supported=ALL_SPARSE,
    ),
    "gpt_oss": ClassFacts(
        class_name="GptOssForCausalLM",
        names={
            **ATTENTION,
            **NORMS,
            "sinks": "=self_attn.sinks",
            "router": "mlp.router",
            "experts_in_out_gate_up": "=mlp.experts.gate_up_proj",
            "experts_gate_up_bias": "=mlp.experts.gate_up_proj_bias",
            "experts_in_out_down": "=mlp.experts.down_proj",
            "experts_down_bias": "=mlp.experts.down_proj_bias",
        },
        mxfp4={
            "experts_mxfp4_gate_up": "=mlp.experts.gate_up_proj_blocks",
            "experts_mxfp4_gate_up_scales": "=mlp.experts.gate_up_proj_scales",
            "experts_mxfp4_down": "=mlp.experts.down_proj_blocks",
            "experts_mxfp4_down_scales": "=mlp.experts.down_proj_scales",
        },
        biases={**biases("q k v output", "attention_bias"), "router": True},
        sinks=True,
        fixed_activation="clamped_swiglu",
        experts=Experts(
            ("num_local_experts", "num_experts"), False, "intermediate_size", scores="softmax of the chosen"
        ),
        windows="layer types",
        types="sliding first",
        experts_transposed=True,
        defaults=_class(
            num_key_value_heads=8,
            head_dim=64,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            rope_theta=150000.0,
            sliding_window=128,
            attention_bias=True,
            num_experts_per_tok=4,
            swiglu_alpha=1.702,
            swiglu_limit=7.0,
        ),
        supported={"swiglu_alpha": (1.702,), "swiglu_limit": (7.0,)},
    ),
    "gemma4_text": ClassFacts(
        class_name="Gemma4ForCausalLM",
        names={
            "attention_norm": "input_layernorm",
            **POST_NORMS,
            "ffn_norm": "pre_feedforward_layernorm",
            **GATED,
            "output": "self_attn.o_proj",
            "q": "self_attn.q_proj",
            "q_norm": "self_attn.q_norm",
            "layer_scale": "=layer_scalar",
        },
        by_kind={
            "own keys": {"k": "self_attn.k_proj", "k_norm": "self_attn.k_norm"},
            "own keys and values": {"v": "self_attn.v_proj"},
            "layer embedding": {
                "layer_gate": "per_layer_input_gate",
                "layer_output": "per_layer_projection",
                "layer_norm": "post_per_layer_input_norm",
            },
            "dense and mixture": {
                "router": "router.proj",
                "router_scale": "=router.scale",
                "expert_scale": "=router.per_expert_scale",
                "experts_gate_up": "=experts.gate_up_proj",
                "experts_down": "=experts.down_proj",
                "mixture_input_norm": "pre_feedforward_layernorm_2",
                "dense_norm": "post_feedforward_layernorm_1",
                "mixture_norm": "post_feedforward_layernorm_2",
            },
        },
        outside={
            "layer_embeddings": "model.embed_tokens_per_layer",
            "layer_projection": "model.per_layer_model_projection",
            "layer_projection_norm": "model.per_layer_projection_norm",
        },
        mixers="gemma4",
        ffns="enable_moe_block",
        activation="hidden_activation",
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        value_norm=True,
        shares_keys=True,
        keys_as_values=True,
        layer_embedding=True,
        unscaled_attention=True,
        experts=Experts(("num_experts",), True, "moe_intermediate_size", used="top_k_experts"),
        windows="layer types",
        types="periodic",
        nested_rope=True,
        partial_rotary=1.0,
        embedding_scale="sqrt",
        logit_softcap="final_logit_softcapping",
        defaults={
            **GEMMA,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131072,
            "rope_theta": 1e4,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
            "final_logit_softcapping": None,
            "attention_k_eq_v": False,
            "num_kv_shared_layers": 0,
            "enable_moe_block": False,
            "use_double_wide_mlp": False,
            "hidden_size_per_layer_input": 256,
            "num_experts": None,
            "top_k_experts": None,
            "moe_intermediate_size": None,
        },
        supported={"use_bidirectional_attention": (None, "vision")},
    ),
    "deepseek_v3": ClassFacts(
        class_name="DeepseekV3ForCausalLM",
        ffns="first_k_dense_replace",
        experts=DEEPSEEK_EXPERTS,
        by_kind={**LATENT_QUERIES, "dense": GATED, "mixture": {**EXPERTS, **CHOICE_BIAS, **SHARED_EXPERTS}},
        **LATENT_CLASS,
        beyond="num_nextn_predict_layers",
        defaults=_class(
            max_position_embeddings=4096,
            first_k_dense_replace=3,
            norm_topk_prob=True,
            n_group=8,
            topk_group=4,
            routed_scaling_factor=2.5,
            n_shared_experts=1,
            n_routed_experts=256,
            num_experts_per_tok=8,
            rope_interleave=True,
            kv_lora_rank=512,
            q_lora_rank=1536,
        ),
        supported={"rope_interleave": (True,), "attention_bias": (False, None)},
    ),
    "deepseek_v2": ClassFacts(
        class_name="DeepseekV2ForCausalLM",
        ffns="first_k_dense_replace",
        experts=Experts(
            ("n_routed_experts",),
            False,
            "moe_intermediate_size",
            "moe_intermediate_size",
            "n_shared_experts",
            scale="routed_scaling_factor",
            groups="n_group",
            groups_used="topk_group",
            group_worth="best",
        ),
        by_kind={**LATENT_QUERIES, "dense": GATED, "mixture": {**EXPERTS, **SHARED_EXPERTS}},
        **LATENT_CLASS,
        defaults=_class(
            max_position_embeddings=2048,
            first_k_dense_replace=0,
            n_group=None,
            topk_group=None,
            routed_scaling_factor=1.0,
            n_shared_experts=2,
            n_routed_experts=64,
            kv_lora_rank=512,
            q_lora_rank=1536,
            topk_method="greedy",
        ),
        supported={"attention_bias": (False, None), "topk_method": ("greedy", "group_limited_greedy")},
    ),
    "glm4_moe_lite": ClassFacts(
        class_name="Glm4MoeLiteForCausalLM",
        ffns="mlp_layer_types",
        experts=DEEPSEEK_EXPERTS,
        by_kind={**LATENT_QUERIES, "dense": GATED, "mixture": {**EXPERTS, **CHOICE_BIAS, **SHARED_EXPERTS}},
        **LATENT_CLASS,
        beyond="num_nextn_predict_layers",
        defaults=_class(
            max_position_embeddings=202752,
            rms_norm_eps=1e-5,
            norm_topk_prob=True,
            n_group=1,
            topk_group=1,
            routed_scaling_factor=1.8,
            n_shared_experts=1,
            n_routed_experts=64,
            num_experts_per_tok=4,
            rope_interleave=True,
            kv_lora_rank=512,
            q_lora_rank=768,
            num_nextn_predict_layers=0,
        ),
        supported={"rope_interleave": (True,), "attention_bias": (False, None)},
    ),
    "lfm2": ClassFacts(
        class_name="Lfm2ForCausalLM",
        names={**LFM2_NORMS, **LFM2_DENSE},
        by_kind={"attention": LFM2_ATTENTION, "short convolution": SHORT_CONV},
        **LFM2,
        defaults=LFM2_DEFAULTS,
        supported={"conv_bias": (False,)},
    ),
    "lfm2_moe": ClassFacts(
        class_name="Lfm2MoeForCausalLM",
        names=LFM2_NORMS,
        by_kind={
            "attention": LFM2_ATTENTION,
            "short convolution": SHORT_CONV,
            "dense": LFM2_DENSE,
            "mixture": {
                "router": "feed_forward.gate",
                "choice_bias": "=feed_forward.expert_bias",
                "expert_gate": "feed_forward.experts.{e}.w1",
                "expert_up": "feed_forward.experts.{e}.w3",
                "expert_down": "feed_forward.experts.{e}.w2",
            },
        },
        ffns="num_dense_layers",
        experts=Experts(
            ("num_experts",),
            "norm_topk_prob",
            "moe_intermediate_size",
            scores="sigmoid",
            scale="routed_scaling_factor",
        ),
        **LFM2,
        defaults={
            **LFM2_DEFAULTS,
            "block_auto_adjust_ff_dim": False,
            "num_dense_layers": 2,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
            "use_expert_bias": True,
        },
        supported={"conv_bias": (False,), "use_expert_bias": (True,)},
    ),
    "granitemoehybrid": ClassFacts(
        class_name="GraniteMoeHybridForCausalLM",
        names={
            **NORMS,
            "shared_gate_up": "shared_mlp.input_linear",
            "shared_down": "shared_mlp.output_linear",
        },
        by_kind={
            "attention": ATTENTION,
            "mamba2": mamba2("mamba"),
            "mixture": {
                "router": "block_sparse_moe.router.layer",
                "experts_gate_up": "block_sparse_moe.input_linear",
                "experts_down": "block_sparse_moe.output_linear",
            },
        },
        mixers="granite hybrid",
        ffns="num_local_experts",
        rotates="position_embedding_type",
        biases=biases("q k v output", "attention_bias"),
        experts=Experts(
            ("num_local_experts",),
            True,
            "intermediate_size",
            "shared_intermediate_size",
            used="num_experts_per_tok",
        ),
        attention_multiplier="attention_multiplier",
        embedding_multiplier="embedding_multiplier",
        residual_multiplier="residual_multiplier",
        logit_divisor="logits_scaling",
        defaults=_class(
            max_position_embeddings=2048,
            attention_multiplier=1.0,
            embedding_multiplier=1.0,
            residual_multiplier=1.0,
            logits_scaling=1.0,
            position_embedding_type=None,
            num_local_experts=8,
            num_experts_per_tok=2,
            intermediate_size=None,
        ),
        supported={"mamba_conv_bias": (True,), "mamba_proj_bias": (False,)},
    ),
    "nemotron_h": ClassFacts(
        class_name="NemotronHForCausalLM",
        names={"attention_norm": "norm"},
        by_kind={
            "attention": {role: name.replace("self_attn", "mixer") for role, name in ATTENTION.items()},
            "mamba2": mamba2("mixer"),
            "dense": {"up": "mixer.up_proj", "down": "mixer.down_proj"},
            "mixture": {
                "router": "mixer.gate",
                "choice_bias": "=mixer.gate.e_score_correction_bias",
                "expert_up": "mixer.experts.{e}.up_proj",
                "expert_down": "mixer.experts.{e}.down_proj",
                "shared_up": "mixer.shared_experts.up_proj",
                "shared_down": "mixer.shared_experts.down_proj",
            },
        },
        mixers="nemotron h",
        ffns="block types",
        types_key="layers_block_type",
        eps="layer_norm_epsilon",
        activation="mlp_hidden_act",
        rotates=False,
        biases=biases("q k v output", "attention_bias"),
        experts=Experts(
            ("n_routed_experts",),
            "norm_topk_prob",
            "moe_intermediate_size",
            "moe_shared_expert_intermediate_size",
            scores="sigmoid",
            scale="routed_scaling_factor",
            groups="n_group",
            groups_used="topk_group",
        ),
        embedding="backbone.embeddings",
        layers="backbone.layers",
        final_norm="backbone.norm_f",
        defaults=_class(
            head_dim=128,
            num_key_value_heads=8,
            max_position_embeddings=4096,
            mlp_hidden_act="relu2",
            layer_norm_epsilon=1e-5,
            n_group=1,
            topk_group=1,
            norm_topk_prob=True,
            routed_scaling_factor=1.0,
            intermediate_size=21504,
            n_routed_experts=8,
            num_experts_per_tok=2,
            moe_intermediate_size=7688,
            moe_shared_expert_intermediate_size=7688,
        ),
        supported={
            "use_conv_bias": (True,),
            "mamba_proj_bias": (False,),
            "moe_latent_size": (None,),
            "mlp_bias": (False,),
            "use_bias": (False,),
            "residual_in_fp32": (False,),
        },
    ),
    "glm4": ClassFacts(
        class_name="Glm4ForCausalLM",
        names={
            **ATTENTION,
            "attention_norm": "input_layernorm",
            "attention_post_norm": "post_self_attn_layernorm",
            "ffn_norm": "post_attention_layernorm",
            "ffn_post_norm": "post_mlp_layernorm",
            "gate_up": "mlp.gate_up_proj",
            "down": "mlp.down_proj",
        },
        pairs="interleaved",
        biases=biases("q k v", "attention_bias"),
        partial_rotary=0.5,
        defaults=_class(
            num_key_value_heads=2, head_dim=128, max_position_embeddings=131072, rms_norm_eps=1.5625e-07
        ),
    ),
    "ernie4_5": ClassFacts(
        class_name="Ernie4_5ForCausalLM",
        names=LLAMA,
        pairs="interleaved",
        biases=biases("q k v output gate up down", "use_bias"),
        defaults=_class(
            num_key_value_heads=2,
            head_dim=128,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            use_bias=False,
            tie_word_embeddings=True,
            rope_theta=500000.0,
        ),
    ),
    "ernie4_5_moe": ClassFacts(
        class_name="Ernie4_5_MoeForCausalLM",
        names={**ATTENTION, **NORMS},
        by_kind={
            "dense": GATED,
            "mixture": {
                **EXPERTS,
                **SHARED_EXPERTS,
                "choice_bias_row": "=mlp.moe_statics.e_score_correction_bias",
            },
        },
        pairs="interleaved",
        ffns="moe_layer_interval",
        biases=biases("q k v output", "use_bias"),
        experts=Experts(
            ("moe_num_experts",),
            True,
            "moe_intermediate_size",
            "moe_intermediate_size",
            "moe_num_shared_experts",
            used="moe_k",
        ),
        defaults=_class(
            num_key_value_heads=4,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            use_bias=False,
            tie_word_embeddings=True,
            rope_theta=500000.0,
            moe_num_experts=64,
            moe_k=6,
            moe_intermediate_size=1536,
            moe_num_shared_experts=2,
            moe_layer_start_index=1,
            moe_layer_interval=1,
            moe_layer_end_index=-1,
        ),
    ),
    "seed_oss": ClassFacts(
        class_name="SeedOssForCausalLM",
        names=LLAMA,
        biases={
            **biases("q k v", "attention_bias"),
            "output": "attention_out_bias",
            **biases("gate up down", "mlp_bias"),
        },
        defaults=_class(
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=524288,
            attention_bias=True,
            attention_out_bias=False,
        ),
    ),
    "exaone4": ClassFacts(
        class_name="Exaone4ForCausalLM",
        names={**ATTENTION, **GATED, **HEAD_NORMS, **POST_NORMS},
        head_norm="head",
        windows="layer types",
        types="periodic",
        full_turns=False,
        defaults=_class(
            num_key_value_heads=32,
            max_position_embeddings=2048,
            rms_norm_eps=1e-5,
            sliding_window=4096,
            sliding_window_pattern=4,
        ),
    ),
    "hunyuan_v1_dense": ClassFacts(
        class_name="HunYuanDenseV1ForCausalLM",
        names={**LLAMA, "q_norm": "self_attn.query_layernorm", "k_norm": "self_attn.key_layernorm"},
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        head_norm_after_rope=True,
        defaults=_class(max_position_embeddings=2048, rms_norm_eps=1e-5),
    ),
    "olmoe": ClassFacts(
        class_name="OlmoeForCausalLM",
        names={**ATTENTION, **NORMS, **HEAD_NORMS, **EXPERTS},
        biases=biases("q k v output", "attention_bias"),
        head_norm="row",
        experts=Experts(("num_experts", "num_local_experts"), "norm_topk_prob", "intermediate_size"),
        defaults=_class(
            max_position_embeddings=4096,
            rms_norm_eps=1e-5,
            norm_topk_prob=False,
            num_experts=64,
            num_experts_per_tok=8,
        ),
        supported={"clip_qkv": (None,)},
    ),
    "dots1": ClassFacts(
        class_name="Dots1ForCausalLM",
        names={**ATTENTION, **NORMS, **HEAD_NORMS},
        by_kind={"dense": GATED, "mixture": {**EXPERTS, **CHOICE_BIAS, **SHARED_EXPERTS}},
        ffns="first_k_dense_replace",
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        experts=DEEPSEEK_EXPERTS,
        windows="layer types",
        types="by depth",
        defaults=_class(
            num_key_value_heads=32,
            max_position_embeddings=2048,
            first_k_dense_replace=0,
            n_group=1,
            topk_group=1,
            norm_topk_prob=False,
            routed_scaling_factor=1.0,
            sliding_window=4096,
            max_window_layers=62,
        ),
    ),
    "cohere2": ClassFacts(
        class_name="Cohere2ForCausalLM",
        names={"attention_norm": "input_layernorm", **ATTENTION, **GATED},
        norm="layer",
        eps="layer_norm_eps",
        pairs="interleaved",
        biases=biases("q k v output", "attention_bias"),
        parallel=True,
        windows="layer types",
        types="periodic",
        full_turns=False,
        logit_multiplier="logit_scale",
        defaults=_class(
            max_position_embeddings=8192,
            layer_norm_eps=1e-5,
            rope_theta=1e4,
            tie_word_embeddings=True,
            logit_scale=0.0625,
            sliding_window=4096,
            sliding_window_pattern=4,
        ),
    ),
    "granitemoe": ClassFacts(
        class_name="GraniteMoeForCausalLM",
        names={
            **ATTENTION,
            **NORMS,
            "router": "block_sparse_moe.router.layer",
            "experts_gate_up": "block_sparse_moe.input_linear",
            "experts_down": "block_sparse_moe.output_linear",
        },
        biases=biases("q k v output", "attention_bias"),
        experts=Experts(("num_local_experts",), True, "intermediate_size"),
        attention_multiplier="attention_multiplier",
        embedding_multiplier="embedding_multiplier",
        residual_multiplier="residual_multiplier",
        logit_divisor="logits_scaling",
        defaults=_class(
            max_position_embeddings=2048,
            attention_multiplier=1.0,
            embedding_multiplier=1.0,
            residual_multiplier=1.0,
            logits_scaling=1.0,
            num_local_experts=8,
            num_experts_per_tok=2,
        ),
    ),
    "arcee": ClassFacts(
        class_name="ArceeForCausalLM",
        names={**ATTENTION, **NORMS, "up": "mlp.up_proj", "down": "mlp.down_proj"},
        biases={**biases("q k v output", "attention_bias"), **biases("up down", "mlp_bias")},
        defaults=_class(max_position_embeddings=4096, rms_norm_eps=1e-5, hidden_act="relu2"),
    ),
    "mistral4": ClassFacts(
        class_name="Mistral4ForCausalLM",
        ffns="first_k_dense_replace",
        experts=Experts(
            ("n_routed_experts",),
            "norm_topk_prob",
            "moe_intermediate_size",
            "moe_intermediate_size",
            "n_shared_experts",
            scale="routed_scaling_factor",
            groups="n_group",
            groups_used="topk_group",
        ),
        by_kind={
            **LATENT_QUERIES,
            "dense": GATED,
            "mixture": {
                "router": "mlp.gate",
                "experts_gate_up": "=mlp.experts.gate_up_proj",
                "experts_down": "=mlp.experts.down_proj",
                **SHARED_EXPERTS,
            },
        },
        **LATENT_CLASS,
        temperature=True,
        partial_rotary=1.0,
        defaults=_class(
            max_position_embeddings=1048576,
            first_k_dense_replace=0,
            norm_topk_prob=True,
            n_group=1,
            topk_group=1,
            routed_scaling_factor=1.0,
            n_shared_experts=1,
            n_routed_experts=128,
            num_experts_per_tok=4,
            rope_interleave=True,
            kv_lora_rank=256,
            q_lora_rank=1024,
        ),
        supported={"rope_interleave": (True,), "attention_bias": (False, None)},
    ),
    "nemotron": ClassFacts(
        class_name="NemotronForCausalLM",
        names={**ATTENTION, **NORMS, "up": "mlp.up_proj", "down": "mlp.down_proj"},
        norm="layer",
        eps="norm_eps",
        norm_bias=True,
        norm_offset=1.0,
        biases={**biases("q k v output", "attention_bias"), **biases("up down", "mlp_bias")},
        partial_rotary=0.5,
        defaults=_class(max_position_embeddings=4096, norm_eps=1e-5, hidden_act="relu2"),
    ),
    "falcon": ClassFacts(
        class_name="FalconForCausalLM",
        names={
            "qkv": "self_attention.query_key_value",
            "output": "self_attention.dense",
            "up": "mlp.dense_h_to_4h",
            "down": "mlp.dense_4h_to_h",
        },
        by_kind={
            "one norm": {"attention_norm": "input_layernorm"},
            "two norms": {"attention_norm": "ln_attn", "ffn_norm": "ln_mlp"},
        },
        norm="layer",
        eps="layer_norm_epsilon",
        norm_bias=True,
        activation="activation",
        biases=biases("qkv output up down", "bias"),
        parallel="parallel_attn",
        two_norms=True,
        norm_count="num_ln_in_parallel_attn",
        qkv_by_kv_head=True,
        single_kv_head="multi_query",
        embedding="transformer.word_embeddings",
        layers="transformer.h",
        final_norm="transformer.ln_f",
        keys={"num_key_value_heads": "num_kv_heads"},
        width="ffn_hidden_size",
        usual_width=4,
        defaults=_class(
            layer_norm_epsilon=1e-5,
            activation="gelu",
            max_position_embeddings=2048,
            parallel_attn=True,
            multi_query=True,
            new_decoder_architecture=False,
            bias=False,
            ffn_hidden_size=None,
            tie_word_embeddings=True,
        ),
        supported={"alibi": (False, None), "parallel_attn": (True,)},
    ),
    "mamba": ClassFacts(
        class_name="MambaForCausalLM",
        names={
            "attention_norm": "norm",
            "mamba_in": "mixer.in_proj",
            "conv": "mixer.conv1d",
            "conv_bias": "=mixer.conv1d.bias",
            "step_low": "mixer.x_proj",
            "step": "mixer.dt_proj",
            "a_log": "=mixer.A_log",
            "skip": "=mixer.D",
            "mixer_output": "mixer.out_proj",
        },
        mixers="mamba",
        ffns="none",
        eps="layer_norm_epsilon",
        rotates=False,
        biases={"step": True},
        embedding="backbone.embeddings",
        layers="backbone.layers",
        final_norm="backbone.norm_f",
        defaults=_class(
            max_position_embeddings=1 << 20,  # the class has no limit; the number is llama.cpp's converter's
            layer_norm_epsilon=1e-5,
            state_size=16,
            expand=2,
            conv_kernel=4,
            time_step_rank="auto",
            tie_word_embeddings=True,
        ),
        supported={"use_conv_bias": (True,), "use_bias": (False,)},
    ),
    "mamba2": ClassFacts(
        class_name="Mamba2ForCausalLM",
        names={"attention_norm": "norm", **mamba2("mixer")},
        mixers="mamba2",
        ffns="none",
        eps="layer_norm_epsilon",
        rotates=False,
        embedding="backbone.embeddings",
        layers="backbone.layers",
        final_norm="backbone.norm_f",
        defaults=_class(
            max_position_embeddings=1 << 20,
            layer_norm_epsilon=1e-5,
            num_heads=128,
            head_dim=64,
            n_groups=8,
            state_size=128,
            conv_kernel=4,
        ),
        supported={"use_conv_bias": (True,), "use_bias": (False,), "hidden_act": ("silu",)},
    ),
    "apertus": ClassFacts(
        class_name="ApertusForCausalLM",
        names={
            **ATTENTION,
            **HEAD_NORMS,
            "attention_norm": "attention_layernorm",
            "ffn_norm": "feedforward_layernorm",
            "up": "mlp.up_proj",
            "down": "mlp.down_proj",
            "xielu_above": "=mlp.act_fn.alpha_p",
            "xielu_below": "=mlp.act_fn.alpha_n",
            "xielu_beta": "=mlp.act_fn.beta",
            "xielu_epsilon": "=mlp.act_fn.eps",
        },
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        defaults=_class(
            max_position_embeddings=65536, rms_norm_eps=1e-5, hidden_act="xielu", rope_theta=12000000.0
        ),
        supported={"hidden_act": ("xielu",)},
    ),
    "llama4_text": ClassFacts(
        class_name="Llama4ForCausalLM",
        names={**ATTENTION, **NORMS},
        by_kind={
            "dense": {role: name.replace("mlp", "feed_forward") for role, name in GATED.items()},
            "mixture": {
                "router": "feed_forward.router",
                "experts_in_out_gate_up": "=feed_forward.experts.gate_up_proj",
                "experts_in_out_down": "=feed_forward.experts.down_proj",
                "shared_gate": "feed_forward.shared_expert.gate_proj",
                "shared_up": "feed_forward.shared_expert.up_proj",
                "shared_down": "feed_forward.shared_expert.down_proj",
            },
        },
        ffns="moe_layers",
        width="intermediate_size_mlp",
        pairs="interleaved",
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        plain_head_norm="use_qk_norm",
        head_norm_after_rope=True,
        no_rope_layers=True,
        windows="layer types",
        types="all full",
        more_types=("chunked_attention",),
        floor_temperature=True,
        experts=Experts(
            ("num_local_experts",),
            False,
            "intermediate_size",
            "intermediate_size",
            scores="sigmoid",
            weighs_input=True,
        ),
        defaults=_class(
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            rope_theta=5e5,
            intermediate_size=8192,
            intermediate_size_mlp=16384,
            num_experts_per_tok=1,
            num_local_experts=16,
            interleave_moe_layer_step=1,
            use_qk_norm=True,
            no_rope_layers=None,
            no_rope_layer_interval=4,
            attention_chunk_size=8192,
            attn_temperature_tuning=True,
            floor_scale=8192,
            attn_scale=0.1,
        ),
    ),
    "gemma3n_text": ClassFacts(
        class_name="Gemma3nForCausalLM",
        names={
            **GATED,
            **POST_NORMS,
            "attention_norm": "input_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "q": "self_attn.q_proj",
            "q_norm": "self_attn.q_norm",
            "output": "self_attn.o_proj",
            "updates_norm": "altup.router_norm",
            "updates_router": "altup.modality_router",
            "updates_predict": "altup.prediction_coefs",
            "updates_correct": "altup.correction_coefs",
            "updates_scale": "=altup.correct_output_scale",
            "bypass_down": "laurel.linear_left",
            "bypass_up": "laurel.linear_right",
            "bypass_norm": "laurel.post_laurel_norm",
        },
        by_kind={
            "own keys": {"k": "self_attn.k_proj", "k_norm": "self_attn.k_norm", "v": "self_attn.v_proj"},
            "layer embedding": {
                "layer_gate": "per_layer_input_gate",
                "layer_output": "per_layer_projection",
                "layer_norm": "post_per_layer_input_norm",
            },
        },
        outside={
            "layer_embeddings": "model.embed_tokens_per_layer",
            "layer_projection": "model.per_layer_model_projection",
            "layer_projection_norm": "model.per_layer_projection_norm",
            "streams_apart": "model.altup_projections.{s}",
            "streams_together": "model.altup_unembed_projections.{s}",
        },
        activation="hidden_activation",
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        value_norm=True,
        shares_keys=True,
        layer_embedding=True,
        streams=True,
        unscaled_attention=True,
        windows="layer types",
        types="periodic",
        nested_rope=True,
        embedding_scale="sqrt",
        logit_softcap="final_logit_softcapping",
        defaults={
            **GEMMA,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 512,
            "sliding_window_pattern": 5,
            "final_logit_softcapping": 30.0,
            "num_kv_shared_layers": 15,
            "hidden_size_per_layer_input": 256,
            "altup_num_inputs": 4,
            "altup_active_idx": 0,
            "laurel_rank": 64,
        },
        supported={"altup_correct_scale": (True,)},
    ),
    "gpt2": ClassFacts(
        class_name="GPT2LMHeadModel",
        names=GPT2,
        **GPT2_CLASS,
        transposed=frozenset({"qkv", "output", "up", "down"}),
        defaults=_class(activation_function="gelu_new", **GPT2_DEFAULTS),
        supported={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
    ),
    "gpt_bigcode": ClassFacts(
        class_name="GPTBigCodeForCausalLM",
        names=GPT2,
        **GPT2_CLASS,
        single_kv_head="multi_query",
        qkv_by_kv_head=True,
        defaults=_class(activation_function="gelu_pytorch_tanh", multi_query=True, **GPT2_DEFAULTS),
        supported={"scale_attn_weights": (True,), "add_cross_attention": (False,)},
    ),
    "bloom": ClassFacts(
        class_name="BloomForCausalLM",
        names={
            **NORMS,
            "qkv": "self_attention.query_key_value",
            "output": "self_attention.dense",
            "up": "mlp.dense_h_to_4h",
            "down": "mlp.dense_4h_to_h",
        },
        outside={"embedding_norm": "transformer.word_embeddings_layernorm"},
        norm="layer",
        eps="layer_norm_epsilon",
        norm_bias=True,
        fixed_activation="gelu_tanh",
        biases=biases("qkv output up down", True),
        qkv_by_kv_head=True,
        rotates=False,
        alibi=8.0,
        embedding="transformer.word_embeddings",
        layers="transformer.h",
        final_norm="transformer.ln_f",
        keys={
            "num_attention_heads": "n_head",
            "num_hidden_layers": "n_layer",
            "max_position_embeddings": "seq_length",
            "hidden_size": "n_embed",
        },
        usual_width=4,
        defaults=_class(
            layer_norm_epsilon=1e-5,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            intermediate_size=None,
        ),
        supported={"apply_residual_connection_post_layernorm": (False,)},
    ),
    "gpt_neox": ClassFacts(
        class_name="GPTNeoXForCausalLM",
        names={
            **NORMS,
            "qkv": "attention.query_key_value",
            "output": "attention.dense",
            "up": "mlp.dense_h_to_4h",
            "down": "mlp.dense_4h_to_h",
        },
        norm="layer",
        eps="layer_norm_eps",
        norm_bias=True,
        biases={**biases("qkv output", "attention_bias"), **biases("up down", True)},
        parallel="use_parallel_residual",
        two_norms=True,
        qkv_by_kv_head=True,
        partial_rotary=0.25,
        head="embed_out",
        embedding="gpt_neox.embed_in",
        layers="gpt_neox.layers",
        final_norm="gpt_neox.final_layer_norm",
        keys={"partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"},
        defaults=_class(
            layer_norm_eps=1e-5,
            hidden_act="gelu",
            max_position_embeddings=2048,
            attention_bias=True,
            use_parallel_residual=True,
        ),
    ),
    "mpt": ClassFacts(
        class_name="MptForCausalLM",
        names={
            "attention_norm": "norm_1",
            "ffn_norm": "norm_2",
            "qkv": "attn.Wqkv",
            "output": "attn.out_proj",
            "up": "ffn.up_proj",
            "down": "ffn.down_proj",
        },
        norm="layer",
        eps="layer_norm_epsilon",
        fixed_activation="gelu",
        rotates=False,
        alibi=8.0,
        clamp="clip_qkv",
        embedding="transformer.wte",
        layers="transformer.blocks",
        final_norm="transformer.norm_f",
        keys={
            "hidden_size": "d_model",
            "num_attention_heads": "n_heads",
            "num_hidden_layers": "n_layers",
            "max_position_embeddings": "max_seq_len",
        },
        width_ratio="expansion_ratio",
        defaults=_class(
            layer_norm_epsilon=1e-5, max_position_embeddings=2048, expansion_ratio=4, tie_word_embeddings=True
        ),
        supported={"no_bias": (True,)},
    ),
}
