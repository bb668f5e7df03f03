"""Trinity: four norms per layer, gated attention, sliding windows in three of four layers, rotation in those only.

llama.cpp's converter writes whether expert weights are normalized only if config.json says so; the class always
normalizes them.
Source: llama.cpp, conversion/afmoe.py and src/models/afmoe.cpp; transformers, models/afmoe.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.derived_values import every_nth_full
from llorch.converter.schema.layer_kinds import dense_then_mixture

AFMOE = Architecture(
    gguf="afmoe",
    model_type="afmoe",
    class_name="AfmoeForCausalLM",
    kinds=(dense_then_mixture,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.HEAD_NORMS,
            Rule("attn_gate.weight", "self_attn.gate_proj.weight", "q hidden"),
            Rule("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_norm.weight", "pre_mlp_layernorm.weight", "hidden"),
            Rule("post_ffw_norm.weight", "post_mlp_layernorm.weight", "hidden"),
        ),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(
            *rows.rename(rows.EXPERTS, {"mlp.gate.": "mlp.router.gate."}),
            *rows.rename(rows.CHOICE_BIAS, {"gate.e_score_correction_bias": "expert_bias"}),
            *rows.SHARED_EXPERTS,
            of="mixture",
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=None, none=0, least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        Key("expert_weights_norm", "route_norm", Kind.FLAG, default=True, only=(True,)),
        Key("expert_weights_scale", "route_scale", default=1.0, unset=0.0),
        Key("expert_shared_count", "num_shared_experts", Kind.INTEGER, least=1),
        Key("leading_dense_block_count", "num_dense_layers", Kind.INTEGER, default=0),
        Key("expert_group_count", "n_group", Kind.INTEGER, default=1, unset=0, only=(1,)),
        Key("expert_group_used_count", "topk_group", Kind.INTEGER, default=1, unset=0, only=(1,)),
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={"layer_types": every_nth_full(4)},
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "global_attn_every_n_layers": 4,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mup_enabled": True,  # the embedding is multiplied by √hidden_size, which llama.cpp always does
        "output_router_logits": False,
        "use_cache": True,
    },
)
