"""Command with experts (North): Cohere 2's parallel block, dense layers first, then experts and a shared network.

The outputs of the experts and the shared network are averaged. Norms are RMS if the file has an RMS epsilon.
llama.cpp always rotates the dense layers with full attention, as the class does with a prefix pattern of 1.
Source: llama.cpp, conversion/command_r.py and src/models/cohere2moe.cpp; transformers, models/cohere2_moe.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import PREDICTION, Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.block_sizes import optional_shared_width
from llorch.converter.schema.derived_values import every_nth_full_from_the_first, layer_types, scoring_name
from llorch.converter.schema.layer_kinds import dense_then_mixture, with_or_without_shared_experts

BLOCK = (*rows.INPUT_NORM, *rows.ATTENTION)
SHARED = (
    Rule("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight", "shared hidden"),
    Rule("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", "shared hidden"),
    Rule("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight", "hidden shared"),
)

COHERE2MOE = Architecture(
    gguf="cohere2moe",
    model_type="cohere2_moe",
    class_name="Cohere2MoeForCausalLM",
    kinds=(dense_then_mixture, with_or_without_shared_experts),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*BLOCK),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*rows.EXPERTS, of="mixture"),
        *in_layers(*SHARED, of="shared experts"),
        *in_layers(
            *BLOCK,
            *rows.EXPERTS,
            *rows.may_be_absent(SHARED, "as the model's own layers have it"),
            *rows.PREDICTION_AS_LAYER,
            of=PREDICTION,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(
        Key("attention.layer_norm_epsilon", "layer_norm_eps", default=1e-5, least=0),
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", default=None, none=0.0, least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
        Key("logit_scale", "logit_scale", default=1.0, unset=0.0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(1, 2)),
        Key("expert_shared_count", "num_shared_experts", Kind.INTEGER, default=0),
        Key("expert_weights_scale", default=1.0, unset=0.0, only=(1.0,)),
        *rows.RENORMALISED,
        *rows.PREDICTION_COUNT,
    ),
    sizes={
        "intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
        "prefix_dense_intermediate_size": "ff",
    },
    block_sizes=(optional_shared_width,),
    derived={
        "expert_selection_fn": scoring_name,
        "layer_types": every_nth_full_from_the_first(4),
        "mlp_layer_types": layer_types(dense_then_mixture, {"dense": "dense", "mixture": "sparse"}),
    },
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "prefix_dense_sliding_window_pattern": 1,
        "shared_expert_combination_strategy": "average",
        "use_cache": True,
    },
)
