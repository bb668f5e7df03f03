"""Hunyuan 3 (Hy3): one or more dense layers, then experts chosen by sigmoid scores and a bias; q and k are normed.

The prediction layers come after the model's own layers, and have one more norm.
Source: llama.cpp, conversion/hunyuan.py and src/models/hy-v3.cpp; transformers, models/hy_v3.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import PREDICTION, Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.derived_values import how_many, layer_types
from llorch.converter.schema.layer_kinds import mixture_where_routed

BLOCK = (*rows.INPUT_NORM, *rows.ATTENTION, *rows.HEAD_NORMS, *rows.FFN_NORM)
MIXTURE = (
    *rows.rename(rows.EXPERTS, {"mlp.gate.": "mlp.router.gate."}),
    Rule("exp_probs_b", "mlp.expert_bias", "experts", dtype="F32"),
    *rows.rename(rows.SHARED_EXPERTS, {"shared_experts": "shared_mlp"}),
)

HY_V3 = Architecture(
    gguf="hy_v3",
    model_type="hy_v3",
    class_name="HYV3ForCausalLM",
    kinds=(mixture_where_routed,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*BLOCK),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*MIXTURE, of="mixture"),
        *in_layers(
            *BLOCK,
            *MIXTURE,
            *rows.rename(rows.PREDICTION_AS_LAYER, {"shared_head.norm": "final_layernorm"}),
            of=PREDICTION,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        Key("expert_weights_norm", "route_norm", Kind.FLAG, only=(True,)),
        Key("expert_weights_scale", "router_scaling_factor", default=1.0, unset=0.0),
        *rows.PREDICTION_COUNT,
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={
        "mlp_layer_types": layer_types(mixture_where_routed, {"dense": "dense", "mixture": "sparse"}),
        "num_shared_experts": how_many("expert_ff", "shared_ff", "expert_shared_feed_forward_length"),
    },
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "enable_moe_fp32_combine": True,
        "hidden_act": "silu",
        "initializer_range": 0.006,
        "mlp_bias": False,
        "output_router_logits": False,
        "use_cache": True,
    },
)
