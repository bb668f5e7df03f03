"""Qwen 1, 1.8B to 72B: Qwen2 by another name, so it is written as Qwen2.

The original's class is custom code. Beyond its training context it scales queries by the logarithm of their position
and increases the rope base; llama.cpp does neither, nor does Qwen2's class.
Source: llama.cpp, conversion/qwen.py and src/models/qwen.cpp; transformers, models/qwen2.
"""

from dataclasses import replace

from llorch.converter.architectures.qwen2 import QWEN2

QWEN = replace(QWEN2, gguf="qwen", widths_in_key=2)
