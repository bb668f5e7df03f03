"""Orion 14B: a Llama with layer norms, which is what StableLM is when it rotates whole heads.

The original's class comes as code. Its config.json says rms_norm_eps, and its norms are layer norms all the same.
Source: llama.cpp, conversion/orion.py and src/models/orion.cpp; transformers, models/stablelm.
"""

from dataclasses import replace

from llorch.converter.architectures.stablelm import STABLELM

ORION = replace(STABLELM, gguf="orion")
