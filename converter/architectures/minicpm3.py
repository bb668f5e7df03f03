"""MiniCPM 3: DeepSeek's latent attention without experts, with MiniCPM's scales.

The scales are built into llama.cpp's src/models/minicpm3.cpp; no key has them.
Source: llama.cpp, conversion/minicpm.py and src/models/minicpm3.cpp; transformers, models/minicpm3.
"""

from llorch.converter.architectures.deepseek import JOINED, LATENT, LOW_RANK
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, in_layers
from llorch.converter.schema.block_sizes import latent_sizes

MINICPM3 = Architecture(
    gguf="minicpm3",
    model_type="minicpm3",
    class_name="MiniCPM3ForCausalLM",
    latent_attention=True,
    block_sizes=(latent_sizes,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *LATENT, *LOW_RANK, *JOINED, *rows.FFN_NORM, *rows.GATED_FFN),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FACTORS,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    sizes={
        "kv_lora_rank": "rank",
        "q_lora_rank": "q_rank",
        "qk_nope_head_dim": "nope",
        "qk_rope_head_dim": "rope_dim",
        "v_head_dim": "v_dim",
    },
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dim_model_base": 256,
        "hidden_act": "silu",
        "initializer_range": 0.1,
        "scale_depth": 1.4,
        "scale_emb": 12,
        "use_cache": True,
    },
)
