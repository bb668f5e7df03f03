"""GLM-4.5, 4.6 and 4.7, also Air: dense layers first, then experts chosen by sigmoid scores and a bias.

Source: llama.cpp, conversion/glm.py and src/models/glm4-moe.cpp; transformers, models/glm4_moe.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import PREDICTION, Architecture, Key, Kind, RopeLayout, in_layers
from llorch.converter.schema.layer_kinds import dense_then_mixture

BLOCK = (
    *rows.INPUT_NORM,
    *rows.ATTENTION,
    *rows.with_flag(rows.QKV_BIAS, "attention_bias"),
    *rows.with_flag(rows.HEAD_NORMS, "use_qk_norm"),
    *rows.FFN_NORM_NAMED_POST,
)
KEYS = (*rows.WEIGHED_AND_SHARED, *rows.GROUPS, *rows.FIRST_DENSE, *rows.PREDICTION_COUNT)
MIXTURE = (*rows.EXPERTS, *rows.CHOICE_BIAS, *rows.SHARED_EXPERTS)

GLM4MOE = Architecture(
    gguf="glm4moe",
    model_type="glm4_moe",
    class_name="Glm4MoeForCausalLM",
    rope=RopeLayout.PARTIAL,
    kinds=(dense_then_mixture,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*BLOCK),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*MIXTURE, of="mixture"),
        *in_layers(*BLOCK, *MIXTURE, *rows.PREDICTION_AS_LAYER, of=PREDICTION),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key(
            "expert_gating_func", kind=Kind.INTEGER, default=2, only=(0, 2)
        ),  # sigmoid; files may lack the key
        Key("expert_weights_norm", "norm_topk_prob", Kind.FLAG, default=True),
        *KEYS,
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "n_routed_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "use_cache": True,
    },
)
