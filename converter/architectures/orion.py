"""Orion 14B: a Llama with layer norms, which is StableLM with full rotation, so it is written as StableLM.

The original's class is custom code. Its config.json has rms_norm_eps, but its norms are layer norms.
Source: llama.cpp, conversion/orion.py and src/models/orion.cpp; transformers, models/stablelm.
"""

from dataclasses import replace

from llorch.converter.architectures.stablelm import STABLELM

ORION = replace(STABLELM, gguf="orion")
