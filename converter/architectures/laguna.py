"""Laguna: head counts that differ by layer, a softplus gate on attention's output, windows in three of four layers.

Layers with a window have an unscaled rope base and a rotated share of their own. Gates are per head or per channel.
Source: llama.cpp, conversion/laguna.py and src/models/laguna.cpp; transformers, models/laguna.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import gated_heads, gated_heads_of_layer
from llorch.converter.schema.derived_values import (
    every_nth_full_from_the_first,
    gate_granularity,
    heads_by_layer,
    layer_types,
)
from llorch.converter.schema.layer_kinds import dense_then_mixture

LAGUNA = Architecture(
    gguf="laguna",
    model_type="laguna",
    class_name="LagunaForCausalLM",
    rope=RopeLayout.PARTIAL_BY_LAYER_TYPE,
    kinds=(dense_then_mixture,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "attention_bias"),
            *rows.HEAD_NORMS,
            Rule("attn_gate.weight", "self_attn.g_proj.weight", "gate hidden"),
            *rows.FFN_NORM,
        ),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(
            *rows.EXPERTS,
            *rows.rename(rows.CHOICE_BIAS, {"mlp.gate.": "mlp.experts."}),
            *rows.SHARED_EXPERT,
            of="mixture",
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=0, least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        Key("expert_shared_count", kind=Kind.INTEGER, default=1, only=(1,)),
        Key("expert_weights_norm", kind=Kind.FLAG, only=(True,)),
        Key("expert_weights_scale", "moe_routed_scaling_factor", default=1.0, unset=0.0),
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
        "shared_expert_intermediate_size": "shared_ff",
    },
    block_sizes=(gated_heads,),
    layer_sizes=gated_heads_of_layer,
    derived={
        "gating": gate_granularity,
        "layer_types": every_nth_full_from_the_first(4, windowed=True),
        "mlp_layer_types": layer_types(dense_then_mixture, {"dense": "dense", "mixture": "sparse"}),
        "num_attention_heads_per_layer": heads_by_layer,
    },
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "moe_apply_router_weight_on_input": False,
        "moe_router_logit_softcapping": 0.0,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "use_cache": True,
    },
)
