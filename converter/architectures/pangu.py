"""openPangu Embedded 1B and 7B: a Llama with attention biases, whose rotary pairs are half a head apart in the file.

The original's class is custom code; its layers are Llama's, so it is written as Llama.
Source: llama.cpp, conversion/pangu.py and src/models/pangu-embed.cpp; transformers, models/llama.
"""

from dataclasses import replace

from llorch.converter.architectures.llama import LLAMA
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import in_layers

PANGU_EMBEDDED = replace(
    LLAMA,
    gguf="pangu-embedded",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "attention_bias"),
            *rows.FFN_NORM,
            *rows.GATED_FFN,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
        *rows.ROPE_FACTORS,
    ),
)
