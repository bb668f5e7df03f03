"""Gemma 4: E2B and E4B with per-layer embeddings, the dense 12B and 31B, and 26B-A4B with experts.

Source: llama.cpp, conversion/gemma.py and src/models/gemma4.cpp; transformers, models/gemma4.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import gemma4_layer, gemma4_sizes
from llorch.converter.schema.conditions import has_experts
from llorch.converter.schema.derived_values import (
    full_layers_differ,
    keys_are_values,
    layer_types,
    size,
    widths_double,
)
from llorch.converter.schema.layer_kinds import (
    own_keys_or_shared,
    sliding_or_full,
    with_or_without_layer_embedding,
)

BLOCK = (
    *rows.INPUT_NORM,
    Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
    Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "head_dim"),
    Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
    Rule("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    Rule("ffn_norm.weight", "pre_feedforward_layernorm.weight", "hidden"),
    Rule("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden"),
    *rows.GATED_FFN,
    Rule("layer_output_scale.weight", "layer_scalar", "1"),
)
OWN_KEYS = (
    Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
    Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden", absent="the values are the keys"),
    Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "head_dim"),
)
SHARED_KEYS = (
    Rule("attn_k.weight", unused="the layer reads another's keys"),
    Rule("attn_v.weight", unused="the layer reads another's values"),
    Rule("attn_k_norm.weight", unused="the layer reads another's keys"),
)
LAYER_EMBEDDING = (
    Rule("inp_gate.weight", "per_layer_input_gate.weight", "per_layer hidden"),
    Rule("proj.weight", "per_layer_projection.weight", "hidden per_layer"),
    Rule("post_norm.weight", "post_per_layer_input_norm.weight", "hidden"),
)
NO_LAYER_EMBEDDING = "no layer has an embedding of its own"
OUTSIDE = (
    Rule("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight", "vocab layers*per_layer",
         absent=NO_LAYER_EMBEDDING),
    Rule("per_layer_model_proj.weight", "model.per_layer_model_projection.weight", "layers*per_layer hidden",
         absent=NO_LAYER_EMBEDDING),
    Rule("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight", "per_layer",
         absent=NO_LAYER_EMBEDDING),
)  # fmt: skip
MIXTURE = (
    Rule("ffn_gate_inp.weight", "router.proj.weight", "experts hidden"),
    Rule("ffn_gate_inp.scale", "router.scale", "hidden"),
    Rule("ffn_down_exps.scale", "router.per_expert_scale", "experts"),
    Rule("ffn_gate_exps.weight", "experts.gate_up_proj", "experts expert_ff hidden"),
    Rule("ffn_up_exps.weight", "experts.gate_up_proj", "experts expert_ff hidden"),
    Rule("ffn_down_exps.weight", "experts.down_proj", "experts hidden expert_ff"),
    Rule("pre_ffw_norm_2.weight", "pre_feedforward_layernorm_2.weight", "hidden"),
    Rule("post_ffw_norm_1.weight", "post_feedforward_layernorm_1.weight", "hidden"),
    Rule("post_ffw_norm_2.weight", "post_feedforward_layernorm_2.weight", "hidden"),
)
TENSORS = (
    *rows.EMBEDDING,
    *OUTSIDE,
    *in_layers(*BLOCK),
    *in_layers(*OWN_KEYS, of="own keys"),
    *in_layers(*SHARED_KEYS, of="shared keys"),
    *in_layers(*LAYER_EMBEDDING, of="layer embedding"),
    *rows.FINAL_NORM,
    *rows.HEAD,
    *rows.ROPE_FREQS,
)
KINDS = (sliding_or_full, own_keys_or_shared, with_or_without_layer_embedding)
KEYS = (
    Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
    Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
    Key("attention.shared_kv_layers", "num_kv_shared_layers", Kind.INTEGER, default=0, least=0),
    Key("final_logit_softcapping", "final_logit_softcapping", default=None, none=0.0),
    Key("embedding_length_per_layer_input", "hidden_size_per_layer_input", Kind.INTEGER, default=0, least=0),
)
DERIVED = {
    "attention_k_eq_v": keys_are_values,
    "layer_types": layer_types(sliding_or_full, {"sliding": "sliding_attention", "full": "full_attention"}),
    "per_layer_config": full_layers_differ,
    "use_double_wide_mlp": widths_double,
    "vocab_size_per_layer_input": size("vocab"),
}
ASSUMED = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "initializer_range": 0.02,
    "use_bidirectional_attention": None,
    "use_cache": True,
}

GEMMA4 = Architecture(
    gguf="gemma4",
    model_type="gemma4_text",
    class_name="Gemma4ForCausalLM",
    rope=RopeLayout.PROPORTIONAL,
    kinds=KINDS,
    block_sizes=(gemma4_sizes,),
    layer_sizes=gemma4_layer,
    tensors=TENSORS,
    keys=KEYS,
    derived=DERIVED,
    assumed={
        **ASSUMED,
        "enable_moe_block": False,
        "moe_intermediate_size": None,
        "num_experts": None,
        "top_k_experts": None,
    },
)

GEMMA4_MOE = Architecture(
    gguf="gemma4",
    model_type="gemma4_text",
    class_name="Gemma4ForCausalLM",
    when=has_experts,
    rope=RopeLayout.PROPORTIONAL,
    kinds=KINDS,
    block_sizes=(gemma4_sizes,),
    layer_sizes=gemma4_layer,
    tensors=(*TENSORS, *in_layers(*MIXTURE)),
    keys=(*KEYS, Key("expert_gating_func", kind=Kind.INTEGER, default=1, only=(1,))),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "top_k_experts": "experts_used",
    },
    derived=DERIVED,
    assumed={**ASSUMED, "enable_moe_block": True},
)
