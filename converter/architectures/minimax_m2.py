"""MiniMax M2, M2.5 and M2.7: experts chosen by sigmoid scores and a bias, q and k normed over the whole row.

Source: llama.cpp, conversion/minimax.py and src/models/minimax-m2.cpp; transformers, models/minimax_m2.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, in_layers
from llorch.converter.schema.derived_values import size

NAMES = {
    "mlp.": "block_sparse_moe.",
    "gate.e_score": "e_score",
    "gate_proj": "w1",
    "up_proj": "w3",
    "down_proj": "w2",
}

MINIMAX_M2 = Architecture(
    gguf="minimax-m2",
    model_type="minimax_m2",
    class_name="MiniMaxM2ForCausalLM",
    rope=RopeLayout.PARTIAL,
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.ROW_NORMS,
            *rows.FFN_NORM,
            *rows.rename((*rows.EXPERTS, *rows.CHOICE_BIAS), NAMES),
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, only=(2,)),  # sigmoid; llama.cpp requires the key too
        Key("expert_weights_norm", kind=Kind.FLAG, default=True, only=(True,)),
        Key("expert_weights_scale", default=1.0, unset=0.0, only=(1.0,)),
    ),
    sizes={
        "intermediate_size": "expert_ff",
        "num_local_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={"rotary_dim": size("rope_dim")},
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "use_cache": True,
        "use_qk_norm": True,
    },
)
