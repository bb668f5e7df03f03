"""Jais 2: layer norms, biases everywhere, and a squared ReLU without a gate.

Source: llama.cpp, conversion/jais.py and src/models/jais2.cpp; transformers, models/jais2.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

JAIS2 = Architecture(
    gguf="jais2",
    model_type="jais2",
    class_name="Jais2ForCausalLM",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
            *rows.ATTENTION,
            *rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "attention_bias"),
            *rows.FFN_NORM,
            Rule("ffn_norm.bias", "post_attention_layernorm.bias", "hidden"),
            *rows.UNGATED_FFN,
            *rows.with_flag(rows.UNGATED_FFN_BIAS, "mlp_bias"),
        ),
        *rows.FINAL_NORM,
        Rule("output_norm.bias", "model.norm.bias", "hidden"),
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_epsilon", "layer_norm_eps", least=0),),
    assumed={"attention_dropout": 0.0, "hidden_act": "relu2", "initializer_range": 0.02, "use_cache": True},
)
