"""MiMo-V2: most layers have a window, attention sinks and twice the key-value heads; values are narrower than keys.

The original's config.json also has sliding_window_size, which transformers counts from the previous position on. It is
not written, so the window is the number of positions that llama.cpp uses.
Source: llama.cpp, conversion/mimo.py and src/models/mimo2.cpp; transformers, models/mimo_v2_flash; vLLM,
models/mimo_v2_mtp.py, for the names of the prediction layers.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import (
    PREDICTION,
    Architecture,
    Key,
    Kind,
    RopeLayout,
    Rule,
    in_layers,
)
from llorch.converter.schema.block_sizes import own_heads_and_values, single_and_doubled_kv_heads
from llorch.converter.schema.derived_values import layer_types
from llorch.converter.schema.layer_kinds import mixture_where_routed, sliding_or_full

ATTENTION = (
    *rows.INPUT_NORM,
    Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
    Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
    Rule("attn_v.weight", "self_attn.v_proj.weight", "v hidden"),
    Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden o"),
)
QKV_BIAS = (
    Rule("attn_q.bias", "self_attn.q_proj.bias", "q"),
    Rule("attn_k.bias", "self_attn.k_proj.bias", "kv"),
    Rule("attn_v.bias", "self_attn.v_proj.bias", "v"),
)
SINKS = (Rule("attn_sinks.weight", "self_attn.attention_sink_bias", "heads"),)

MIMO2 = Architecture(
    gguf="mimo2",
    model_type="mimo_v2_flash",
    class_name="MiMoV2FlashForCausalLM",
    rope=RopeLayout.PARTIAL_BY_LAYER_TYPE,
    sliding_theta=10000.0,
    value_dim=True,
    kinds=(mixture_where_routed, sliding_or_full),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*ATTENTION, *rows.with_flag(QKV_BIAS, "attention_bias"), *rows.FFN_NORM),
        *in_layers(*SINKS, of="sliding"),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*rows.EXPERTS, *rows.CHOICE_BIAS, of="mixture"),
        *in_layers(
            *ATTENTION,
            *SINKS,
            Rule("ffn_norm.weight", "pre_mlp_layernorm.weight", "hidden"),
            *rows.GATED_FFN,
            Rule("nextn.eh_proj.weight", "eh_proj.weight", "hidden 2*hidden"),
            Rule("nextn.enorm.weight", "enorm.weight", "hidden"),
            Rule("nextn.hnorm.weight", "hnorm.weight", "hidden"),
            Rule("layer_output_norm.weight", "final_layernorm.weight", "hidden"),
            of=PREDICTION,
            below="model.mtp.layers.{m}.",
        ),
        *rows.FINAL_NORM,
        Rule("output.weight", "lm_head.weight", "vocab hidden"),
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
        Key("attention.value_scale", "attention_value_scale", default=None, none=0.0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        Key("expert_group_count", "n_group", Kind.INTEGER, default=1, unset=0, only=(1,)),
        Key("expert_group_used_count", "topk_group", Kind.INTEGER, default=1, unset=0, only=(1,)),
        Key("expert_weights_scale", "routed_scaling_factor", default=1.0, unset=0.0),
        Key("nextn_predict_layers", kind=Kind.INTEGER, default=0),
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "n_routed_experts": "experts",
        "num_experts_per_tok": "experts_used",
        "v_head_dim": "v_dim",
    },
    block_sizes=(single_and_doubled_kv_heads,),
    layer_sizes=own_heads_and_values,
    derived={
        "layer_types": layer_types(
            sliding_or_full, {"sliding": "sliding_attention", "full": "full_attention"}
        ),
        "mlp_layer_types": layer_types(mixture_where_routed, {"dense": "dense", "mixture": "sparse"}),
    },
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "norm_topk_prob": True,
        "output_router_logits": False,
        "use_cache": True,
    },
)
