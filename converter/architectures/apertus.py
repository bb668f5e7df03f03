"""Apertus: a Llama without a gate, whose activation (xIELU) has four parameters per layer.

Source: llama.cpp, conversion/llama.py, `ApertusModel`, and src/models/apertus.cpp; transformers, models/apertus.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

APERTUS = Architecture(
    gguf="apertus",
    model_type="apertus",
    class_name="ApertusForCausalLM",
    head_dim="unusual",
    rope_theta=12000000.0,
    layer_arrays=("xielu.alpha_n", "xielu.alpha_p", "xielu.beta", "xielu.eps"),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            Rule("attn_norm.weight", "attention_layernorm.weight", "hidden"),
            *rows.ATTENTION,
            *rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "attention_bias"),
            *rows.HEAD_NORMS,
            Rule("ffn_norm.weight", "feedforward_layernorm.weight", "hidden"),
            *rows.UNGATED_FFN,
            Rule("xielu.alpha_n", "mlp.act_fn.alpha_n", "1"),
            Rule("xielu.alpha_p", "mlp.act_fn.alpha_p", "1"),
            Rule("xielu.beta", "mlp.act_fn.beta", "1", becomes=""),
            Rule("xielu.eps", "mlp.act_fn.eps", "1", becomes=""),
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "xielu",
        "initializer_range": 0.02,
        "use_cache": True,
    },
)
