"""How transformers reads each `model_type`: one row of facts a class.

Sources: transformers 5.23, models/<model_type>/modeling_*.py (names, arithmetic) and configuration_*.py (keys and their
defaults). A role is what the decoder calls a weight; its name is what stands between `model.layers.{i}.` and `.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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

Bias = bool | str
"""Whether a linear layer has a bias, or the key that says so."""


def biases(roles: str, said_by: Bias) -> dict[str, Bias]:
    """The same answer for several roles."""
    return dict.fromkeys(roles.split(), said_by)


@dataclass(frozen=True, slots=True)
class Experts:
    """Keys of a mixture; `count` may be spelled in several ways.

    renormalised: a key, or what the class always does. width, shared_width: keys of the experts' widths.
    """

    count: tuple[str, ...]
    renormalised: Bias
    width: str
    shared_width: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFacts:
    """One class's facts.

    class_name: the entry of `architectures` that this row speaks of.
    names: roles to names; `{e}` counts experts, `{h}` heads.
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
    types: Literal["all full", "by depth", "alternating by depth", "periodic", "where not rotated"] = (
        "all full"
    )
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
}
