"""Qwen3.5, 3.6 and 3.8, dense and with experts: gated delta nets, with gated attention in every fourth layer.

Source: llama.cpp, conversion/qwen.py and src/models/qwen35.cpp, qwen35moe.cpp; transformers, models/qwen3_5 and
models/qwen3_5_moe.
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
from llorch.converter.schema.block_sizes import delta_net_sizes
from llorch.converter.schema.derived_values import layer_types
from llorch.converter.schema.layer_kinds import linear_or_full
from llorch.converter.schema.operations import group_columns, log_negative
from llorch.converter.schema.row_orders import value_heads_grouped

LINEAR = (
    Rule("attn_qkv.weight", "linear_attn.in_proj_qkv.weight", "2*keys+values hidden",
         rows=value_heads_grouped("value_dim", after_keys=True)),
    Rule("attn_gate.weight", "linear_attn.in_proj_z.weight", "values hidden", rows=value_heads_grouped("value_dim")),
    Rule("ssm_alpha.weight", "linear_attn.in_proj_a.weight", "value_heads hidden", rows=value_heads_grouped()),
    Rule("ssm_beta.weight", "linear_attn.in_proj_b.weight", "value_heads hidden", rows=value_heads_grouped()),
    Rule("ssm_conv1d.weight", "linear_attn.conv1d.weight", "2*keys+values conv_kernel",
         rows=value_heads_grouped("value_dim", after_keys=True), becomes="2*keys+values 1 conv_kernel"),
    Rule("ssm_a", "linear_attn.A_log", "value_heads", log_negative(), rows=value_heads_grouped()),
    Rule("ssm_dt.bias", "linear_attn.dt_bias", "value_heads", rows=value_heads_grouped()),
    Rule("ssm_norm.weight", "linear_attn.norm.weight", "value_dim"),
    Rule("ssm_out.weight", "linear_attn.out_proj.weight", "hidden values",
         group_columns("key_heads", "repeats", "value_dim")),
)  # fmt: skip
NORMS = rows.without_one((*rows.INPUT_NORM, *rows.FFN_NORM_NAMED_POST))
FULL = (*rows.GATED_ATTENTION, *rows.without_one(rows.HEAD_NORMS))
MIXTURE = (*rows.EXPERTS, *rows.SHARED_EXPERT, *rows.SHARED_EXPERT_GATE)
MTP = "mtp.layers.{m}."

KEYS = (
    Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
    Key("nextn_predict_layers", "mtp_num_hidden_layers", Kind.INTEGER, default=0),
)
SIZES = {
    "linear_conv_kernel_dim": "conv_kernel",
    "linear_key_head_dim": "key_dim",
    "linear_num_key_heads": "key_heads",
    "linear_num_value_heads": "value_heads",
    "linear_value_head_dim": "value_dim",
}
LAYER_TYPES = layer_types(linear_or_full, {"linear": "linear_attention", "full": "full_attention"})
ASSUMED = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "use_cache": True,
}

QWEN35 = Architecture(
    gguf="qwen35",
    model_type="qwen3_5_text",
    class_name="Qwen3_5ForCausalLM",
    rope=RopeLayout.PARTIAL,
    rope_sections=True,
    kinds=(linear_or_full,),
    block_sizes=(delta_net_sizes,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*NORMS, *rows.GATED_FFN),
        *in_layers(*LINEAR, of="linear"),
        *in_layers(*FULL, of="full"),
        *in_layers(*NORMS, *FULL, *rows.GATED_FFN, of=PREDICTION, below=MTP),
        *rows.PREDICTION_BESIDE,
        *rows.without_one(rows.FINAL_NORM),
        *rows.HEAD,
    ),
    keys=KEYS,
    sizes=SIZES,
    derived={"layer_types": LAYER_TYPES},
    assumed=ASSUMED,
)

QWEN35MOE = Architecture(
    gguf="qwen35moe",
    model_type="qwen3_5_moe_text",
    class_name="Qwen3_5MoeForCausalLM",
    rope=RopeLayout.PARTIAL,
    rope_sections=True,
    kinds=(linear_or_full,),
    block_sizes=(delta_net_sizes,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*NORMS, *MIXTURE),
        *in_layers(*LINEAR, of="linear"),
        *in_layers(*FULL, of="full"),
        *in_layers(*NORMS, *FULL, *MIXTURE, of=PREDICTION, below=MTP),
        *rows.PREDICTION_BESIDE,
        *rows.without_one(rows.FINAL_NORM),
        *rows.HEAD,
    ),
    keys=(
        *KEYS,
        Key("expert_weights_norm", kind=Kind.FLAG, default=True, only=(True,)),
        Key("expert_weights_scale", default=1.0, unset=0.0, only=(1.0,)),
        Key("expert_gating_func", kind=Kind.INTEGER, default=1, only=(1,)),  # softmax
    ),
    sizes={
        **SIZES,
        "moe_intermediate_size": "expert_ff",
        "shared_expert_intermediate_size": "shared_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={"layer_types": LAYER_TYPES},
    assumed={**ASSUMED, "output_router_logits": False, "router_aux_loss_coef": 0.001},
)
