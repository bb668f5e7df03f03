"""Hunyuan, the dense ones of 0.5B to 7B: q and k are normed when they are rotated.

Source: llama.cpp, conversion/hunyuan.py and src/models/hunyuan-dense.cpp; transformers, models/hunyuan_v1_dense.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, in_layers

HUNYUAN_DENSE = Architecture(
    gguf="hunyuan-dense",
    model_type="hunyuan_v1_dense",
    class_name="HunYuanDenseV1ForCausalLM",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.renamed(rows.HEAD_NORMS, {"q_norm": "query_layernorm", "k_norm": "key_layernorm"}),
            *rows.FFN_NORM,
            *rows.GATED_FFN,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "use_cache": True,
    },
)
