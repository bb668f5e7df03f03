"""Nemotron 4 and Minitron: LayerNorm with 1 added to its weight, half of each head rotated, squared ReLU, no gate.

Source: llama.cpp, conversion/nemotron.py and src/models/nemotron.cpp; transformers, models/nemotron.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, RopeLayout, Rule, in_layers
from llorch.converter.schema.operations import subtract_one

NEMOTRON = Architecture(
    gguf="nemotron",
    model_type="nemotron",
    class_name="NemotronForCausalLM",
    rope=RopeLayout.PARTIAL,
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden", subtract_one()),
            Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
            *rows.ATTENTION,
            *rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "attention_bias"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden", subtract_one()),
            Rule("ffn_norm.bias", "post_attention_layernorm.bias", "hidden"),
            *rows.UNGATED_FFN,
            *rows.with_flag(rows.UNGATED_FFN_BIAS, "mlp_bias"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden", subtract_one()),
        Rule("output_norm.bias", "model.norm.bias", "hidden"),
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_epsilon", "norm_eps", least=0),
        Key(
            "attention.layer_norm_rms_epsilon", default=None
        ),  # llama.cpp's converter writes the epsilon twice
    ),
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "relu2",
        "initializer_range": 0.0134,
        "use_cache": True,
    },
)
