"""Ling 2.0, Ring 2.0 and Sarvam: GLM-4.5 by other names, so they are written as GLM-4.5.

The original's classes are custom code. Its prediction layer ends in a norm, as GLM's does.
Source: llama.cpp, conversion/bailingmoe.py and src/models/bailingmoe2.cpp; transformers, models/glm4_moe.
"""

from dataclasses import replace

from llorch.converter.architectures.glm4moe import GLM4MOE, KEYS, MIXTURE
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import PREDICTION, Key, Kind, Rule, in_layers

BLOCK = (
    *rows.INPUT_NORM,
    *rows.ATTENTION,
    *rows.with_flag(rows.QKV_BIAS, "attention_bias"),
    *rows.with_flag(rows.HEAD_NORMS, "use_qk_norm"),
    *rows.FFN_NORM,
)

BAILINGMOE2 = replace(
    GLM4MOE,
    gguf="bailingmoe2",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*BLOCK),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*MIXTURE, of="mixture"),
        *in_layers(
            *BLOCK,
            *MIXTURE,
            *rows.PREDICTION_AS_LAYER,
            Rule("layer_output_norm.weight", "shared_head.norm.weight", "hidden"),
            of=PREDICTION,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, only=(2,)),  # sigmoid
        *rows.RENORMALISED,
        *KEYS,
    ),
)
