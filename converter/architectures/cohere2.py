"""Command R7B and Command A: attention and feed-forward in parallel, sliding windows in three of four layers.

Source: llama.cpp, conversion/command_r.py and src/models/cohere2.cpp; transformers, models/cohere2.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, in_layers
from llorch.converter.schema.derived_values import every_nth_full_of_windowed

COHERE2 = Architecture(
    gguf="cohere2",
    model_type="cohere2",
    class_name="Cohere2ForCausalLM",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "attention_bias"),
            *rows.GATED_FFN,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_epsilon", "layer_norm_eps", least=0),
        Key("logit_scale", "logit_scale", default=1.0, unset=0.0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
    ),
    derived={"layer_types": every_nth_full_of_windowed(4)},
    assumed={"attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02, "use_cache": True},
)
