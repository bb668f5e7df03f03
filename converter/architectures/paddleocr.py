"""PaddleOCR-VL, the text model: a Llama whose rotary pairs are half a head apart in the file.

The vision tower is in the mmproj file; without it, the model is written as the class that computes the same for text.
Source: llama.cpp, conversion/ernie.py and src/models/paddleocr.cpp; transformers, models/paddleocr_vl and models/llama.
"""

from dataclasses import replace

from llorch.converter.architectures.exaone import EXAONE
from llorch.converter.architectures.qwen3vl import VISION_KEYS

PADDLEOCR = replace(EXAONE, gguf="paddleocr", rope_theta=500000.0, keys=(*EXAONE.keys, *VISION_KEYS))
