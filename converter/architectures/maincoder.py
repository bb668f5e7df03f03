"""Maincoder 1B: Hunyuan's block, except that rotary pairs are neighbours.

The original's class is custom code. The rows of q and k, and the weights of their norms, are permuted to Hunyuan's
halves.
Source: llama.cpp, conversion/maincoder.py and src/models/maincoder.cpp; transformers, models/hunyuan_v1_dense.
"""

from dataclasses import replace

from llorch.converter.architectures.hunyuan import HUNYUAN_DENSE
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Rule, in_layers
from llorch.converter.schema.operations import rope_halves

MAINCODER = replace(
    HUNYUAN_DENSE,
    gguf="maincoder",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION_IN_PAIRS,
            Rule(
                "attn_q_norm.weight", "self_attn.query_layernorm.weight", "head_dim", rope_halves("head_dim")
            ),
            Rule("attn_k_norm.weight", "self_attn.key_layernorm.weight", "head_dim", rope_halves("head_dim")),
            *rows.FFN_NORM,
            *rows.GATED_FFN,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
)
