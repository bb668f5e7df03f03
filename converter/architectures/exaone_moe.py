"""K-EXAONE: EXAONE 4's windows with DeepSeek V3's experts, and norms before the blocks.

The prediction layer is dense, and keeps the original's names.
Source: llama.cpp, conversion/exaone.py and src/models/exaone-moe.cpp; transformers, models/exaone_moe.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import PREDICTION, Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.derived_values import every_nth_full, layer_types
from llorch.converter.schema.layer_kinds import dense_then_mixture

ATTENTION = (*rows.INPUT_NORM, *rows.ATTENTION, *rows.HEAD_NORMS, *rows.FFN_NORM)

CHOICE_BIAS = rows.rename(rows.CHOICE_BIAS, {"mlp.gate.": "mlp."})

EXAONE_MOE = Architecture(
    gguf="exaone-moe",
    model_type="exaone_moe",
    class_name="ExaoneMoeForCausalLM",
    kinds=(dense_then_mixture,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*ATTENTION),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*rows.EXPERTS, *CHOICE_BIAS, *rows.SHARED_EXPERTS, of="mixture"),
        *in_layers(*ATTENTION, *rows.GATED_FFN, of=PREDICTION, below="mtp.layers.{m}."),
        *in_layers(
            Rule("nextn.eh_proj.weight", "mtp.fc.weight", "hidden 2*hidden"),
            Rule("nextn.enorm.weight", "mtp.pre_fc_norm_embedding.weight", "hidden"),
            Rule("nextn.hnorm.weight", "mtp.pre_fc_norm_hidden.weight", "hidden"),
            Rule(
                "nextn.shared_head_norm.weight", "mtp.norm.weight", "hidden", absent="the model's own serves"
            ),
            of=PREDICTION,
            below="",
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
        Key("expert_gating_func", kind=Kind.INTEGER, only=(2,)),  # sigmoid
        Key("expert_weights_scale", "routed_scaling_factor", default=1.0, unset=0.0),
        Key("expert_shared_count", "num_shared_experts", Kind.INTEGER, default=1, least=1),
        *rows.RENORMALISED,
        *rows.GROUPS,
        *rows.FIRST_DENSE,
        *rows.PREDICTION_COUNT,
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={
        "layer_types": every_nth_full(4),
        "mlp_layer_types": layer_types(dense_then_mixture, {"dense": "dense", "mixture": "sparse"}),
    },
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "sliding_window_pattern": 4,
        "use_cache": True,
    },
)
