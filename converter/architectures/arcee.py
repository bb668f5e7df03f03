"""Arcee's AFM: a Llama whose feed-forward network has no gate and a squared ReLU.

Source: llama.cpp, conversion/arcee.py and src/models/arcee.cpp; transformers, models/arcee.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

ARCEE = Architecture(
    gguf="arcee",
    model_type="arcee",
    class_name="ArceeForCausalLM",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION_IN_PAIRS,
            *rows.FFN_NORM,
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "relu2",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "use_cache": True,
    },
)
