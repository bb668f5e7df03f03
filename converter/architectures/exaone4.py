"""EXAONE 4: norms only after the blocks, sliding windows in three of four layers, rotation in those only.

Source: llama.cpp, conversion/exaone.py and src/models/exaone4.cpp; transformers, models/exaone4.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, in_layers
from llorch.converter.schema.derived_values import every_nth_full_of_windowed

EXAONE4 = Architecture(
    gguf="exaone4",
    model_type="exaone4",
    class_name="Exaone4ForCausalLM",
    rope_theta=1000000.0,
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.ATTENTION, *rows.HEAD_NORMS, *rows.POST_NORMS, *rows.GATED_FFN),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=None, none=0, least=0),
    ),
    derived={"layer_types": every_nth_full_of_windowed(4)},
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "sliding_window_pattern": None,
        "use_cache": True,
    },
)
