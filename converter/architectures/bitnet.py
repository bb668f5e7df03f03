"""BitNet b1.58 as in llama.cpp: a Llama with a norm before the last projection of attention and feed-forward.

The file's weights are a scale times -1, 0 or 1, and are written as these products. llama.cpp computes SiLU, which the
class supports, and does not quantize activations; without a `quantization_config` the class does not either.
Source: llama.cpp, conversion/bitnet.py and src/models/bitnet.cpp; transformers, models/bitnet.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

BITNET = Architecture(
    gguf="bitnet",
    model_type="bitnet",
    class_name="BitNetForCausalLM",
    head_dim="unusual",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            Rule("attn_sub_norm.weight", "self_attn.attn_sub_norm.weight", "hidden"),
            *rows.FFN_NORM,
            *rows.GATED_FFN,
            Rule("ffn_sub_norm.weight", "mlp.ffn_sub_norm.weight", "ff"),
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
        "use_cache": True,
    },
)
