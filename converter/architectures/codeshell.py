"""CodeShell 7B: StarCoder 2 by another name, so it is written as StarCoder 2.

The original's class is custom code; q, k and v are one tensor there and in the file.
Source: llama.cpp, conversion/codeshell.py and src/models/codeshell.cpp; transformers, models/starcoder2.
"""

from dataclasses import replace

from llorch.converter.architectures.starcoder2 import STARCODER2

CODESHELL = replace(STARCODER2, gguf="codeshell")
