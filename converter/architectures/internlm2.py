"""InternLM 2 and XVERSE: Llamas by other names, so they are written as Llama.

InternLM 2's original has q, k and v in one tensor by key head, and custom code for its class; in the file they are
separate, as in Llama.
Source: llama.cpp, conversion/internlm.py, xverse.py, src/models/internlm2.cpp and xverse.cpp;
transformers, models/llama.
"""

from dataclasses import replace

from llorch.converter.architectures.llama import LLAMA

INTERNLM2 = replace(LLAMA, gguf="internlm2")
XVERSE = replace(LLAMA, gguf="xverse")
