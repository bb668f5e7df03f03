"""Ministral 3, dense relatives of Mistral Small 4, Devstral 2: yarn, and queries scaled by their position.

Files of Mistral Small 3.1 and 3.2 have the same architecture name without a temperature: they are Mistral's class.
Source: llama.cpp, conversion/mistral3.py and src/models/mistral3.cpp; transformers, models/ministral3.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, in_layers
from llorch.converter.schema.conditions import has_temperature

LAYERS = in_layers(*rows.INPUT_NORM, *rows.ATTENTION_IN_PAIRS, *rows.FFN_NORM, *rows.GATED_FFN)
TENSORS = (*rows.EMBEDDING, *LAYERS, *rows.FINAL_NORM, *rows.HEAD)

MINISTRAL3 = Architecture(
    gguf="mistral3",
    model_type="ministral3",
    class_name="Ministral3ForCausalLM",
    when=has_temperature,
    tensors=TENSORS,
    log_multiplier=1.0,
    rope_keys={"llama_4_scaling_beta": "attention.temperature_scale"},
    rope_sizes={"max_position_embeddings": "context"},
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "sliding_window": None,
        "use_cache": True,
    },
)

MISTRAL3 = Architecture(
    gguf="mistral3",
    model_type="mistral",
    class_name="MistralForCausalLM",
    tensors=TENSORS,
    log_multiplier=1.0,
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "sliding_window": None,
        "use_cache": True,
    },
)
