"""OLMo 1 and 1.7: a Llama whose norms have no weights, with clipped q, k and v in some sizes.

Source: llama.cpp, conversion/olmo.py and src/models/olmo.cpp; transformers, models/olmo.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, in_layers

OLMO = Architecture(
    gguf="olmo",
    model_type="olmo",
    class_name="OlmoForCausalLM",
    head_dim="unusual",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.ATTENTION_IN_PAIRS, *rows.GATED_FFN),
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_epsilon", only=(1e-5,)),  # built into the class
        Key("attention.clamp_kqv", "clip_qkv", default=None, none=0.0, least=0),
    ),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "use_cache": True,
    },
)
