"""Mellum 2: Qwen3's experts, with sliding windows in three of four layers, which have their own, unscaled rope base.

llama.cpp rotates the sliding layers with the other layers' base.
Source: llama.cpp, conversion/mellum.py and src/models/mellum.cpp; transformers, models/mellum.
"""

from llorch.converter.architectures.qwen3moe import QWEN3MOE
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout
from llorch.converter.schema.derived_values import every_nth_full_of_windowed

MELLUM = Architecture(
    gguf="mellum",
    model_type="mellum",
    class_name="MellumForCausalLM",
    rope=RopeLayout.SCALED_FULL_ATTENTION_OF_5,
    tensors=QWEN3MOE.tensors,
    keys=(
        *QWEN3MOE.keys,
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=None, none=0, least=0),
    ),
    sizes=QWEN3MOE.sizes,
    derived={"layer_types": every_nth_full_of_windowed(4)},
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "norm_topk_prob": True,  # built into llama.cpp for this architecture
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "use_cache": True,
    },
)
