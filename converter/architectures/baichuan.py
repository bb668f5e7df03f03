"""Baichuan 7B and Baichuan 2 7B: Llamas by another name, so they are written as Llama.

The original has q, k and v in one tensor and custom code for its class; in the file they are separate. The 13B, which
is recognized by its 40 layers as in llama.cpp, has ALiBi instead of rotation, and no class has ALiBi and RMS norms.
Source: llama.cpp, conversion/baichuan.py and src/models/baichuan.cpp; transformers, models/llama.
"""

from dataclasses import replace

from llorch.converter.architectures.llama import LLAMA
from llorch.converter.schema.conditions import has_other_than_40_layers

BAICHUAN = replace(LLAMA, gguf="baichuan", when=has_other_than_40_layers)
