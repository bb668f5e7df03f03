"""How llama.cpp reads GPT-2, GPT-NeoX and other architectures before Llama: a row of facts per architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_gguf.facts import FINAL_BIAS, FUSED, UNGATED, WITH_BIAS, ArchitectureFacts

# From before RoPE: fused queries, keys and values, biases everywhere, learned positions.
EARLY: dict[str, Any] = {
    "pairs": "halves",
    "norm": "layer",
    "norms": WITH_BIAS,
    "ffn": UNGATED,
    "required": ("attn_output.bias",),
    "final": FINAL_BIAS,
    "rotates": False,
}

STARCODER2: dict[str, Any] = {**EARLY, "activation": "gelu_tanh", "rotates": True}

FAMILIES: Mapping[str, ArchitectureFacts] = {
    "phi2": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        activation="gelu_tanh",
        norms=("attn_norm.weight", "attn_norm.bias"),
        ffn=UNGATED,
        required=("attn_output.bias",),
        final=(*FINAL_BIAS, "output.bias"),
        head_required=True,
        parallel=True,
    ),
    "starcoder2": ArchitectureFacts(**STARCODER2),
    "codeshell": ArchitectureFacts(**STARCODER2, head_required=True),
    "falcon": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        activation="gelu",
        norms=("attn_norm.weight", "attn_norm.bias"),
        roles={"attention_norm": "attn_norm_2 attn_norm", "ffn_norm": "attn_norm"},
        layer_optional=("attn_norm_2.weight", "attn_norm_2.bias"),
        ffn=FUSED,
        final=FINAL_BIAS,
        parallel=True,
        two_norms="attn_norm_2.weight",
    ),
    "gpt2": ArchitectureFacts(**EARLY, activation="gelu_tanh", learned_positions=True),
    "starcoder": ArchitectureFacts(**EARLY, activation="gelu_tanh", learned_positions=True),
    "bloom": ArchitectureFacts(**EARLY, activation="gelu_tanh", alibi=8.0, embedding_norm=True),
    "gptneox": ArchitectureFacts(
        **{**EARLY, "rotates": True},
        activation="gelu",
        head_required=True,
        parallel="use_parallel_residual",
        two_norms="ffn_norm.weight",
    ),
    "mpt": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        activation="gelu",
        ffn=FUSED,
        optional=(
            "attn_norm.bias",
            "ffn_norm.bias",
            "attn_output.bias",
            "ffn_up.bias",
            "ffn_down.bias",
        ),
        final_optional=FINAL_BIAS,
        rotates=False,
        alibi=0.0,
        clamps=True,
    ),
}
