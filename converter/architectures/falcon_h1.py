"""Falcon-H1: attention and Mamba 2 in parallel in every layer, with multipliers folded into the weights.

Published models have eleven multipliers (of embedding, output, keys, into and out of attention and state space, gate
and down). llama.cpp's converter multiplies the weights by them and writes none. The folder has the file's weights and
1 for every multiplier: the same function, computed from different numbers.
Source: llama.cpp, conversion/falcon_h1.py and src/models/falcon-h1.cpp; transformers, models/falcon_h1.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers
from llorch.converter.schema.block_sizes import mamba2_sizes

FALCON_H1 = Architecture(
    gguf="falcon-h1",
    model_type="falcon_h1",
    class_name="FalconH1ForCausalLM",
    block_sizes=(mamba2_sizes,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.below(rows.MAMBA2_WITHOUT_NORM, "mamba."),
            *rows.with_flag(rows.below(rows.MAMBA2_NORM, "mamba."), "mamba_rms_norm"),
            Rule("ffn_norm", "pre_ff_layernorm.weight", "hidden"),
            *rows.rename(rows.GATED_FFN, {"mlp.": "feed_forward."}),
            *rows.with_flag(rows.rename(rows.FFN_BIAS, {"mlp.": "feed_forward."}), "mlp_bias"),
        ),
        Rule("output_norm.weight", "model.final_layernorm.weight", "hidden"),
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    sizes={
        "mamba_d_conv": "conv_kernel",
        "mamba_d_head": "ssm_head_dim",
        "mamba_d_ssm": "inner",
        "mamba_d_state": "state",
        "mamba_n_groups": "ssm_groups",
        "mamba_n_heads": "ssm_heads",
    },
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attention_in_multiplier": 1.0,
        "attention_out_multiplier": 1.0,
        "embedding_multiplier": 1.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "key_multiplier": 1.0,
        "lm_head_multiplier": 1.0,
        "mamba_chunk_size": 128,
        "mamba_conv_bias": True,
        "mamba_expand": 2,
        "mamba_norm_before_gate": False,
        "mamba_proj_bias": False,
        "mlp_multipliers": [1.0, 1.0],
        "projectors_bias": False,
        "ssm_in_multiplier": 1.0,
        "ssm_multipliers": [1.0, 1.0, 1.0, 1.0, 1.0],
        "ssm_out_multiplier": 1.0,
        "use_cache": True,
    },
)
