"""Qwen2-VL and Qwen2.5-VL, the text model: for text the same as Qwen2.

The vision tower is in the mmproj file; without it the model is written as the class that computes the same for text.
Source: llama.cpp, conversion/qwenvl.py and src/models/qwen2vl.cpp; transformers, models/qwen2_vl and models/qwen2.
"""

from dataclasses import replace

from llorch.converter.architectures.qwen2 import QWEN2
from llorch.converter.architectures.qwen3vl import VISION_KEYS

QWEN2VL = replace(QWEN2, gguf="qwen2vl", keys=(*QWEN2.keys, *VISION_KEYS))
