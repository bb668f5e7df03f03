"""Granite with sliding windows and attention sinks, dense and with experts (Granite Swash).

Layers without rotation have a rope base of 0 in config.json; llama.cpp has one base for all others.
Source: llama.cpp, conversion/granite.py and src/models/granite-swa.cpp; transformers, models/granite_swa and
models/granitemoe_swa.
"""

from dataclasses import replace

from llorch.converter.architectures.granite import GRANITE
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Key, Kind, Rule, in_layers
from llorch.converter.schema.block_sizes import optional_shared_width
from llorch.converter.schema.conditions import has_experts
from llorch.converter.schema.derived_values import bases_by_layer, layer_types
from llorch.converter.schema.layer_kinds import sliding_or_full, with_or_without_shared_experts

SINKS = (Rule("attn_sinks.weight", "self_attn.sinks", "heads"),)

GRANITE_SWA = replace(
    GRANITE,
    gguf="granite_swa",
    model_type="granite_swa",
    class_name="GraniteSWAForCausalLM",
    tensors=(*GRANITE.tensors, *in_layers(*SINKS)),
    keys=(*GRANITE.keys, Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1)),
    derived={
        "layer_rope_theta": bases_by_layer,
        "layer_types": layer_types(
            sliding_or_full, {"sliding": "sliding_attention", "full": "full_attention"}
        ),
    },
)

GRANITEMOE_SWA = replace(
    GRANITE_SWA,
    model_type="granitemoe_swa",
    class_name="GraniteMoeSWAForCausalLM",
    when=has_experts,
    kinds=(with_or_without_shared_experts,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION_IN_PAIRS,
            *SINKS,
            *rows.FFN_NORM,
            Rule("ffn_gate_inp.weight", "block_sparse_moe.router.weight", "experts hidden"),
            Rule("ffn_gate_exps.weight", "block_sparse_moe.experts.gate_up_proj", "experts ff hidden"),
            Rule("ffn_up_exps.weight", "block_sparse_moe.experts.gate_up_proj", "experts ff hidden"),
            Rule("ffn_down_exps.weight", "block_sparse_moe.experts.down_proj", "experts hidden ff"),
        ),
        *in_layers(
            Rule("ffn_up_shexp.weight", "shared_mlp.input_linear.weight", "2*shared hidden"),
            Rule("ffn_down_shexp.weight", "shared_mlp.output_linear.weight", "hidden shared"),
            of="shared experts",
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
        *rows.ROPE_FACTORS,
    ),
    sizes={
        "num_experts_per_tok": "experts_used",
        "num_local_experts": "experts",
        "shared_intermediate_size": "shared",
    },
    block_sizes=(optional_shared_width,),
    assumed={
        **GRANITE.assumed,
        "attention_bias": False,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
    },
)
