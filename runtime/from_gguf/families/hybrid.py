"""How llama.cpp reads models with recurrent or convolution layers: a row of facts per architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_gguf.facts import (
    CHOICE_BIAS,
    FFN_BIASES,
    FUSED,
    LLAMA_BIASES,
    MAMBA,
    MAMBA2,
    MAMBA2_NORM,
    SHARED_EXPERTS,
    SHORT_CONV,
    ArchitectureFacts,
)

# Each layer is only one of: Mamba 2, attention, or a feed-forward network.
NEMOTRON: dict[str, Any] = {
    "pairs": "interleaved",
    "activation": "relu2",
    "norms": ("attn_norm.weight",),
    "ffn": FUSED,
    "mixers": "one per layer",
    "recurrent": MAMBA2,
    "least_step": 0.001,
    "ffns": "by width",
    "rotates": False,
    "eps": "attention.layer_norm_epsilon",
}
ALL_RECURRENT: dict[str, Any] = {
    "pairs": "halves",
    "norms": ("attn_norm.weight",),
    "ffns": "none",
    "rotates": False,
    "scales": "unscaled",
}

FAMILIES: Mapping[str, ArchitectureFacts] = {
    "lfm2": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        roles={"final_norm": "token_embd_norm"},
        mixers="short convolution or attention",
        recurrent=SHORT_CONV,
    ),
    "lfm2moe": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        roles={"final_norm": "token_embd_norm"},
        mixers="short convolution or attention",
        recurrent=SHORT_CONV,
        experts="always",
        ffns="leading dense",
        mixture=CHOICE_BIAS,
        gating=2,
    ),
    "granitehybrid": ArchitectureFacts(
        pairs="interleaved",
        mixers="mamba2 or attention",
        recurrent=MAMBA2,
        optional=LLAMA_BIASES,
        experts="maybe",
        shared=SHARED_EXPERTS,
        rope_switch=True,
        scales="granite",
    ),
    "falcon-h1": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight", "ffn_norm"),
        mixers="attention and mamba2",
        recurrent=tuple(stem for stem in MAMBA2 if stem != MAMBA2_NORM),
        optional=FFN_BIASES,
        layer_optional=(MAMBA2_NORM,),
    ),
    "nemotron_h": ArchitectureFacts(**NEMOTRON),
    "nemotron_h_moe": ArchitectureFacts(
        **NEMOTRON,
        experts="always",
        mixture=CHOICE_BIAS,
        shared=("ffn_up_shexp.weight", "ffn_down_shexp.weight"),
        ungated_experts=True,
        gating=2,
    ),
    "mamba": ArchitectureFacts(**ALL_RECURRENT, mixers="mamba", recurrent=MAMBA),
    "mamba2": ArchitectureFacts(**ALL_RECURRENT, mixers="mamba2", recurrent=MAMBA2),
}
