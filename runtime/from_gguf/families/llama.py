"""How llama.cpp reads Llama, Mistral and models with the same block: a row of facts per architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_gguf.facts import (
    BARE_CHOICE_BIAS,
    CHOICE_BIAS,
    FFN_NORM_NAMED_POST,
    FINAL_BIAS,
    FOUR_NORMS,
    FUSED,
    LLAMA_BIASES,
    OWN_GATE,
    SHARED_EXPERTS,
    SUB_NORMS,
    UNGATED,
    WITH_BIAS,
    ArchitectureFacts,
    Sliding,
)
from llorch.runtime.traits import Temperature

# Queries of layers without RoPE are scaled by position; src/models/llama4.cpp has these numbers built in.
FLOOR_TEMPERATURE = Temperature(0.1, 8192, offset=1, unrotated_only=True)

NO_POST_NORMS = {"attention_post_norm": "", "ffn_post_norm": ""}
# Dense layers first, then mixtures with a bias on the choice and a shared expert.
DEEPSEEK_EXPERTS: dict[str, Any] = {
    "experts": "always",
    "ffns": "leading dense",
    "mixture": CHOICE_BIAS,
    "shared": SHARED_EXPERTS,
}

FAMILIES: Mapping[str, ArchitectureFacts] = {
    "llama": ArchitectureFacts(
        pairs="interleaved",
        whole_heads=True,
        optional=LLAMA_BIASES,
        experts="maybe",
        rope_factors="freqs",
        sliding=Sliding(period=0),
    ),
    "mistral3": ArchitectureFacts(
        pairs="interleaved", optional=LLAMA_BIASES, rope_factors="freqs", temperature=True, log_multiplier=1.0
    ),
    "olmo": ArchitectureFacts(
        pairs="interleaved", norm="layer", norms=(), bare_norms=True, roles=NO_POST_NORMS, clamps=True
    ),
    "olmo2": ArchitectureFacts(
        pairs="halves",
        norms=("post_attention_norm.weight", "post_ffw_norm.weight"),
        head_norms="row",
        head_required=True,
        sliding=Sliding(period=4, scaled=False),
    ),
    "olmoe": ArchitectureFacts(
        pairs="halves", head_norms="row", experts="always", experts_renormalised=False, head_required=True
    ),
    "stablelm": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        norms=("attn_norm.weight", "attn_norm.bias"),
        optional=("ffn_norm.weight", "ffn_norm.bias"),
        final=FINAL_BIAS,
        head_required=True,
        parallel="without ffn_norm",
        head_norms="heads",
        head_norms_required=False,
    ),
    "smollm3": ArchitectureFacts(pairs="interleaved", rope_skips=4),
    "minimax-m2": ArchitectureFacts(
        pairs="halves", head_norms="row", experts="always", mixture=CHOICE_BIAS, gating=0
    ),
    "ernie4_5": ArchitectureFacts(pairs="interleaved", optional=LLAMA_BIASES, rope_base=500000.0),
    "ernie4_5-moe": ArchitectureFacts(
        pairs="interleaved",
        optional=("attn_output.bias",),
        rope_base=500000.0,
        experts="always",
        ffns="at intervals",
        mixture=CHOICE_BIAS,
        shared=SHARED_EXPERTS,
    ),
    "seed_oss": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight", "post_attention_norm.weight"),
        roles=FFN_NORM_NAMED_POST,
        optional=("attn_output.bias",),
    ),
    "exaone": ArchitectureFacts(pairs="halves", rope_factors="freqs"),
    "exaone4": ArchitectureFacts(
        pairs="halves",
        norms=("post_attention_norm.weight", "post_ffw_norm.weight"),
        head_norms="head",
        rope_base=1000000.0,
        rope_factors="freqs",
        sliding=Sliding(period=4, full_attention_rope=False),
    ),
    "paddleocr": ArchitectureFacts(pairs="halves", rope_base=500000.0),
    "mellum": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        head_required=True,
        experts="always",
        sliding=Sliding(period=4, scaled=False),
    ),
    "exaone-moe": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        head_required=True,
        **DEEPSEEK_EXPERTS,
        experts_renormalised=False,
        gating=0,
        prediction=True,
        rope_factors="freqs",
        sliding=Sliding(period=4, full_attention_rope=False),
    ),
    "afmoe": ArchitectureFacts(
        pairs="halves",
        norms=FOUR_NORMS,
        required=(OWN_GATE,),
        head_norms="head",
        **DEEPSEEK_EXPERTS,
        gating=2,
        rope_skips=4,
        sliding=Sliding(period=4),
        scales="gemma",
    ),
    "bitnet": ArchitectureFacts(pairs="halves", required=SUB_NORMS),
    "mimo2": ArchitectureFacts(
        pairs="halves",
        optional=("attn_sinks.weight",),
        mixers="own heads",
        own_values=True,
        sinks=True,
        head_required=True,
        **{**DEEPSEEK_EXPERTS, "ffns": "where routed", "shared": ()},
        gating=2,
        prediction=True,
        sliding=Sliding(period=0, local_base=10000.0),
        scales="values",
    ),
    "laguna": ArchitectureFacts(
        pairs="halves",
        required=(OWN_GATE,),
        optional=("attn_output.bias",),
        mixers="own heads",
        head_norms="head",
        softplus_gate=True,
        **DEEPSEEK_EXPERTS,
        experts_renormalised=False,
        gating=2,
        sliding=Sliding(period=4, scaled=False, full_first=True),
    ),
    "hunyuan-dense": ArchitectureFacts(pairs="halves", head_norms="head", head_norm_after_rope=True),
    "hunyuan_vl": ArchitectureFacts(
        pairs="halves", head_norms="head", head_norm_after_rope=True, rope_alpha=True
    ),
    "hunyuan-moe": ArchitectureFacts(
        pairs="halves", head_norms="head", head_norm_after_rope=True, experts="always", shared=SHARED_EXPERTS
    ),
    "hy_v3": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        rope_factors="freqs",
        **{**DEEPSEEK_EXPERTS, "ffns": "where routed", "mixture": BARE_CHOICE_BIAS},
        experts_renormalised=False,
        gating=2,
        prediction=True,
    ),
    "dots1": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        **DEEPSEEK_EXPERTS,
        experts_renormalised=False,
        gating=2,
    ),
    "bailingmoe2": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        head_required=True,
        **DEEPSEEK_EXPERTS,
        experts_renormalised=False,
        gating=0,
        prediction=True,
    ),
    "arcee": ArchitectureFacts(pairs="interleaved", activation="relu2", ffn=FUSED, rope_factors="freqs"),
    "jais2": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        activation="relu2",
        norms=WITH_BIAS,
        ffn=UNGATED,
        required=("attn_output.bias",),
        final=FINAL_BIAS,
    ),
    "nemotron": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        activation="relu2",
        norms=WITH_BIAS,
        norm_stored_offset=1.0,
        ffn=FUSED,
        optional=("attn_output.bias", "ffn_up.bias", "ffn_down.bias"),
        final=FINAL_BIAS,
    ),
    "apertus": ArchitectureFacts(
        pairs="halves",
        activation="xielu",
        ffn=FUSED,
        optional=("attn_output.bias",),
        head_norms="head",
        rope_factors="freqs",
    ),
    "llama4": ArchitectureFacts(
        pairs="interleaved",
        rope_factors="freqs",
        experts="always",
        experts_renormalised=False,
        ffns="at intervals",
        shared=SHARED_EXPERTS,
        gating=2,
        weighs_input=True,
        rope_skips=4,
        plain_head_norm=True,
        head_norm_after_rope=True,
        chunk=8192,
        floor_temperature=FLOOR_TEMPERATURE,
    ),
    "baichuan": ArchitectureFacts(pairs="interleaved", head_required=True, alibi_layers=40),
    "orion": ArchitectureFacts(
        pairs="halves", norm="layer", norms=WITH_BIAS, final=FINAL_BIAS, head_required=True
    ),
    "pangu-embedded": ArchitectureFacts(pairs="halves", required=("attn_output.bias",), rope_factors="freqs"),
    "maincoder": ArchitectureFacts(pairs="interleaved", head_norms="head", head_norm_after_rope=True),
    "internlm2": ArchitectureFacts(pairs="interleaved", head_required=True),
    "xverse": ArchitectureFacts(pairs="interleaved", head_required=True),
    "minicpm": ArchitectureFacts(
        pairs="interleaved", optional=LLAMA_BIASES, rope_factors="freqs", scales="minicpm"
    ),
}
