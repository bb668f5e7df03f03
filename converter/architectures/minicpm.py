"""MiniCPM 1 and 2: a Llama with embedding, residual and logit scales, so it is written as Granite.

Source: llama.cpp, conversion/minicpm.py and src/models/minicpm.cpp; transformers, models/granite.
"""

from dataclasses import replace

from llorch.converter.architectures.granite import GRANITE
from llorch.converter.schema.architecture import Key
from llorch.converter.schema.derived_values import (
    inverse_root_of_head_dim,
    usual_logit_divisor,
    usual_residual_scale,
)

MINICPM = replace(
    GRANITE,
    gguf="minicpm",
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.scale", "attention_multiplier", default=inverse_root_of_head_dim, unset=0.0),
        Key("embedding_scale", "embedding_multiplier", default=12.0),
        Key("residual_scale", "residual_multiplier", default=usual_residual_scale),
        Key("logit_scale", "logits_scaling", default=usual_logit_divisor),
    ),
)
