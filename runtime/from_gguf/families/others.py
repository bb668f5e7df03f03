"""How llama.cpp reads Cohere, GLM, Granite, gpt-oss and Phi-3, each with a block of its own; a row of facts each."""

from __future__ import annotations

from collections.abc import Mapping

from llorch.runtime.from_gguf.facts import (
    CHOICE_BIAS,
    FFN_NORM_NAMED_POST,
    FINAL_BIAS,
    FOUR_NORMS,
    FUSED,
    LLAMA_BIASES,
    SHARED_EXPERTS,
    WITH_BIAS,
    ArchitectureFacts,
    Sliding,
)

FAMILIES: Mapping[str, ArchitectureFacts] = {
    "phi3": ArchitectureFacts(
        pairs="halves",
        ffn=FUSED,
        fused_gate=True,
        rope_factors="long and short",
        sliding=Sliding(period=0),
    ),
    "phimoe": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        eps="attention.layer_norm_rms_epsilon",
        norms=WITH_BIAS,
        required=("attn_output.bias",),
        final=(*FINAL_BIAS, "output.bias"),
        head_required=True,
        experts="always",
        sparse_mixer=0.01,
        rope_factors="long and short",
        longrope_scale=1.243163121016122,
        sliding=Sliding(period=0),
    ),
    "command-r": ArchitectureFacts(
        pairs="interleaved",
        norm="layer",
        norms=("attn_norm.weight",),
        parallel=True,
        head_norms="heads",
        head_norms_required=False,
        scales="command-r",
    ),
    "cohere2": ArchitectureFacts(
        pairs="interleaved",
        norm="layer",
        norms=("attn_norm.weight",),
        optional=("attn_output.bias",),
        parallel=True,
        sliding=Sliding(period=4, full_turns=False),
        scales="command-r",
    ),
    "dbrx": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        norms=("attn_norm.weight", "attn_output_norm.weight"),
        roles={"ffn_norm": "attn_output_norm"},
        head_required=True,
        experts="always",
        clamps=True,
    ),
    "granite": ArchitectureFacts(
        pairs="interleaved",
        optional=LLAMA_BIASES,
        rope_factors="freqs",
        rope_switch=True,
        scales="granite",
    ),
    "granitemoe": ArchitectureFacts(
        pairs="interleaved", experts="always", rope_factors="freqs", rope_switch=True, scales="granite"
    ),
    "glm4moe": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight", "post_attention_norm.weight"),
        roles=FFN_NORM_NAMED_POST,
        head_norms="head",
        head_norms_required=False,
        experts="always",
        ffns="leading dense",
        mixture=CHOICE_BIAS,
        shared=SHARED_EXPERTS,
        gating=2,
        prediction=True,
    ),
    "glm4": ArchitectureFacts(pairs="interleaved", norms=FOUR_NORMS, ffn=FUSED, fused_gate=True),
    "chatglm": ArchitectureFacts(pairs="interleaved", ffn=FUSED, fused_gate=True),
    "gpt-oss": ArchitectureFacts(
        pairs="halves",
        activation="clamped_swiglu",
        norms=("attn_norm.weight", "post_attention_norm.weight"),
        roles=FFN_NORM_NAMED_POST,
        required=("attn_output.bias", "attn_sinks.weight"),
        experts="always",
        mixture=("ffn_gate_inp.bias", "ffn_gate_exps.bias", "ffn_up_exps.bias", "ffn_down_exps.bias"),
        experts_renormalised=False,
        gating=3,
        sinks=True,
        sliding=Sliding(period=2),
        original_yarn=True,
    ),
}
