"""gpt-oss-20b and 120b: attention sinks, biased experts with a clamped gate, sliding windows in every other layer.

Experts in MXFP4, as in the published folders, keep their blocks; other experts, or if one dtype is requested for all
weights, become floats.
Source: llama.cpp, conversion/gpt_oss.py and src/models/openai-moe.cpp; transformers, models/gpt_oss and
integrations/mxfp4.py; openai/gpt-oss-20b, config.json, for `quantization_config`.
"""

from dataclasses import replace

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Between, Key, Kind, Rule, in_layers
from llorch.converter.schema.block_parts import MXFP4
from llorch.converter.schema.conditions import experts_stay_mxfp4
from llorch.converter.schema.derived_values import alternating_from_sliding
from llorch.converter.schema.operations import transpose

BEFORE_EXPERTS = (
    *rows.INPUT_NORM,
    *rows.ATTENTION,
    *rows.QKV_BIAS,
    *rows.OUTPUT_BIAS,
    Rule("attn_sinks.weight", "self_attn.sinks", "heads"),
    *rows.FFN_NORM_NAMED_POST,
    Rule("ffn_gate_inp.weight", "mlp.router.weight", "experts hidden"),
    Rule("ffn_gate_inp.bias", "mlp.router.bias", "experts"),
)
EXPERTS = (
    Rule("ffn_gate_exps.weight", "mlp.experts.gate_up_proj", "experts expert_ff hidden",
         transpose("expert_ff", "hidden"), between=Between(2), becomes="experts hidden 2*expert_ff"),
    Rule("ffn_up_exps.weight", "mlp.experts.gate_up_proj", "experts expert_ff hidden",
         transpose("expert_ff", "hidden"), between=Between(2), becomes="experts hidden 2*expert_ff"),
    Rule("ffn_down_exps.weight", "mlp.experts.down_proj", "experts hidden expert_ff",
         transpose("hidden", "expert_ff"), becomes="experts expert_ff hidden"),
)  # fmt: skip
PACKED_EXPERTS = (
    Rule("ffn_gate_exps.weight", "mlp.experts.gate_up_proj", "experts expert_ff hidden",
         between=Between(2, "hidden"), parts=MXFP4),
    Rule("ffn_up_exps.weight", "mlp.experts.gate_up_proj", "experts expert_ff hidden",
         between=Between(2, "hidden"), parts=MXFP4),
    Rule("ffn_down_exps.weight", "mlp.experts.down_proj", "experts hidden expert_ff", parts=MXFP4),
)  # fmt: skip
EXPERT_BIASES = (
    Rule("ffn_gate_exps.bias", "mlp.experts.gate_up_proj_bias", "experts expert_ff",
         between=Between(2), becomes="experts 2*expert_ff"),
    Rule("ffn_up_exps.bias", "mlp.experts.gate_up_proj_bias", "experts expert_ff",
         between=Between(2), becomes="experts 2*expert_ff"),
    Rule("ffn_down_exps.bias", "mlp.experts.down_proj_bias", "experts hidden"),
)  # fmt: skip
BEHIND_LAYERS = (*rows.FINAL_NORM, *rows.HEAD)

GPT_OSS = Architecture(
    gguf="gpt-oss",
    model_type="gpt_oss",
    class_name="GptOssForCausalLM",
    rope_constants={"truncate": False},  # llama.cpp rounds yarn's two dimensions, the original does not
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*BEFORE_EXPERTS, *EXPERTS, *EXPERT_BIASES),
        *BEHIND_LAYERS,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
        Key("expert_gating_func", kind=Kind.INTEGER, default=3, only=(3,)),  # softmax of the chosen experts
    ),
    sizes={
        "intermediate_size": "expert_ff",
        "num_local_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={"layer_types": alternating_from_sliding},
    assumed={
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.9,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
        "use_cache": True,
    },
)

GPT_OSS_PACKED = replace(
    GPT_OSS,
    when=experts_stay_mxfp4,
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*BEFORE_EXPERTS, *PACKED_EXPERTS, *EXPERT_BIASES),
        *BEHIND_LAYERS,
    ),
    assumed={
        **GPT_OSS.assumed,
        "quantization_config": {
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
            "quant_method": "mxfp4",
        },
    },
)
