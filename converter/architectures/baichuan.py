"""Baichuan 7B and Baichuan 2 7B: Llamas by another name, so they are written as Llama.

The original has queries, keys and values in one tensor, and a class that comes as code; in the file they are apart. The
13B is told by its 40 layers, as llama.cpp tells it: it has alibi and no rotation, which no class has beside such norms.
Source: llama.cpp, conversion/baichuan.py and src/models/baichuan.cpp; transformers, models/llama.
"""

from dataclasses import replace

from llorch.converter.architectures.llama import LLAMA
from llorch.converter.schema.conditions import has_other_than_40_layers

BAICHUAN = replace(LLAMA, gguf="baichuan", when=has_other_than_40_layers)
