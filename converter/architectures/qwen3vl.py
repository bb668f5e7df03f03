"""Qwen3-VL and Qwen3-VL-MoE, the text model: for text the same as Qwen3, dense and with experts.

The vision tower is in the mmproj file; without it the model is written as the class that computes the same for text.
Source: llama.cpp, conversion/qwen3vl.py and src/models/qwen3vl.cpp; transformers, models/qwen3_vl and models/qwen3.
"""

from dataclasses import replace

from llorch.converter.architectures.qwen3 import QWEN3
from llorch.converter.architectures.qwen3moe import QWEN3MOE
from llorch.converter.schema.architecture import Key, Kind

VISION_KEYS = (
    Key("n_deepstack_layers", kind=Kind.INTEGER, default=0),  # layers that take features of the vision tower
    Key("rope.dimension_sections", kind=Kind.INTEGERS, default=None),  # for text all sections rotate alike
)

QWEN3VL = replace(QWEN3, gguf="qwen3vl", keys=(*QWEN3.keys, *VISION_KEYS))
QWEN3VLMOE = replace(QWEN3MOE, gguf="qwen3vlmoe", keys=(*QWEN3MOE.keys, *VISION_KEYS))
