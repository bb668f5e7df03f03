"""dots.llm1: Qwen3's attention with DeepSeek V3's experts.

Source: llama.cpp, conversion/dots1.py and src/models/dots1.cpp; transformers, models/dots1.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, in_layers
from llorch.converter.schema.layer_kinds import dense_then_mixture

DOTS1 = Architecture(
    gguf="dots1",
    model_type="dots1",
    class_name="Dots1ForCausalLM",
    kinds=(dense_then_mixture,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *rows.ATTENTION, *rows.HEAD_NORMS, *rows.FFN_NORM),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*rows.EXPERTS, *rows.CHOICE_BIAS, *rows.SHARED_EXPERTS, of="mixture"),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        *rows.RENORMALISED,
        *rows.WEIGHED_AND_SHARED,
        *rows.FIRST_DENSE,
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "n_routed_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "n_group": 1,
        "output_router_logits": False,
        "sliding_window": None,
        "topk_group": 1,
        "use_cache": True,
    },
)
