"""Seed-OSS: a Llama with biases on q, k and v.

Source: llama.cpp, conversion/llama.py (`SeedOssModel`) and src/models/seed-oss.cpp; transformers, models/seed_oss.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, in_layers

SEED_OSS = Architecture(
    gguf="seed_oss",
    model_type="seed_oss",
    class_name="SeedOssForCausalLM",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.with_flag(rows.QKV_BIAS, "attention_bias"),
            *rows.with_flag(rows.OUTPUT_BIAS, "attention_out_bias"),
            *rows.FFN_NORM_NAMED_POST,
            *rows.GATED_FFN,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_dropout": 0.1,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "pretraining_tp": 1,
        "residual_dropout": 0.1,
        "use_cache": True,
    },
)
