"""Qwen 1, 1.8B to 72B: Qwen2 by other names, so it is written as Qwen2.

The original's class comes as code. Beyond the context that it was trained on it scales queries by the logarithm of
their position and makes the rotary base larger; llama.cpp leaves out both, and so does Qwen2's class.
Source: llama.cpp, conversion/qwen.py and src/models/qwen.cpp; transformers, models/qwen2.
"""

from dataclasses import replace

from llorch.converter.architectures.qwen2 import QWEN2

QWEN = replace(QWEN2, gguf="qwen", widths_in_key=2)
