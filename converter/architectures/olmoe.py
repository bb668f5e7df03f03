"""OLMoE: experts whose weights are not renormalized, q and k normed over the whole row.

Source: llama.cpp, conversion/olmo.py and src/models/olmoe.cpp; transformers, models/olmoe.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, in_layers

OLMOE = Architecture(
    gguf="olmoe",
    model_type="olmoe",
    class_name="OlmoeForCausalLM",
    head_dim="never",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *rows.ATTENTION, *rows.ROW_NORMS, *rows.FFN_NORM, *rows.EXPERTS),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=1, unset=0, only=(1,)),  # softmax
        Key("expert_weights_norm", "norm_topk_prob", Kind.FLAG, default=False),
    ),
    sizes={
        "intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "clip_qkv": None,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.01,
        "use_cache": True,
    },
)
