"""EXAONE 3 and 3.5: a Llama by another name, whose rotary pairs are half a head apart in the file.

The original's class is custom code; its layers are Llama's, so it is written as Llama.
Source: llama.cpp, conversion/exaone.py and src/models/exaone.cpp; transformers, models/llama.
"""

from dataclasses import replace

from llorch.converter.architectures.llama import LLAMA
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import in_layers

EXAONE = replace(
    LLAMA,
    gguf="exaone",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *rows.ATTENTION, *rows.FFN_NORM, *rows.GATED_FFN),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
)
