"""How llama.cpp reads Qwen: a row of facts per architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_gguf.facts import DELTA_NET, FFN_NORM_NAMED_POST, SHARED, ArchitectureFacts

# Three layers of a gated delta net, then one of attention with an output gate beside its queries.
QWEN35: dict[str, Any] = {
    "pairs": "halves",
    "norms": ("attn_norm.weight", "post_attention_norm.weight"),
    "roles": FFN_NORM_NAMED_POST,
    "norm_stored_offset": 1.0,
    "head_norms": "head",
    "mixers": "delta net or attention",
    "recurrent": (*DELTA_NET, "ssm_alpha.weight", "ssm_beta.weight"),
    "output_gate": True,
    "prediction": True,
}
MIXTURE: dict[str, Any] = {"experts": "always", "shared": SHARED}

FAMILIES: Mapping[str, ArchitectureFacts] = {
    "qwen": ArchitectureFacts(pairs="halves", head_required=True),
    "qwen2": ArchitectureFacts(pairs="halves", final_optional=("output.bias",)),
    "qwen2vl": ArchitectureFacts(pairs="halves"),
    "qwen2moe": ArchitectureFacts(
        pairs="halves", experts="shared", experts_renormalised=False, head_required=True
    ),
    "qwen3": ArchitectureFacts(pairs="halves", head_norms="head", optional=("attn_output.bias",)),
    "qwen3moe": ArchitectureFacts(
        pairs="halves", head_norms="head", optional=("attn_output.bias",), experts="always"
    ),
    "qwen3vl": ArchitectureFacts(pairs="halves", head_norms="head"),
    "qwen3vlmoe": ArchitectureFacts(pairs="halves", head_norms="head", experts="always"),
    "qwen35": ArchitectureFacts(**QWEN35, tiled=True),
    "qwen35moe": ArchitectureFacts(**QWEN35, tiled=True, **MIXTURE),
    "qwen3next": ArchitectureFacts(**{**QWEN35, "recurrent": (*DELTA_NET, "ssm_ba.weight")}, **MIXTURE),
}
