"""How llama.cpp reads Gemma: a row of facts per architecture."""

from __future__ import annotations

from collections.abc import Mapping

from llorch.runtime.from_gguf.facts import FOUR_NORMS, ArchitectureFacts, Sliding

FAMILIES: Mapping[str, ArchitectureFacts] = {
    "gemma": ArchitectureFacts(
        pairs="halves", activation="gelu_tanh", norm_stored_offset=1.0, scales="gemma"
    ),
    "gemma2": ArchitectureFacts(
        pairs="halves",
        activation="gelu_tanh",
        norms=FOUR_NORMS,
        norm_stored_offset=1.0,
        sliding=Sliding(period=2, default=4096),
        scales="gemma2",
    ),
    "gemma3": ArchitectureFacts(
        pairs="halves",
        activation="gelu_tanh",
        norms=FOUR_NORMS,
        head_norms="head",
        norm_stored_offset=1.0,
        rope_base=1000000.0,
        sliding=Sliding(period=6, local_base=10000.0, scaled=False),
        scales="gemma3",
    ),
    "gemma3n": ArchitectureFacts(
        pairs="halves",
        activation="gelu_tanh",
        norms=FOUR_NORMS,
        head_norms="head",
        required=(
            "inp_gate.weight",
            "proj.weight",
            "post_norm.weight",
            "altup_correct_coef.weight",
            "altup_correct_scale.weight",
            "altup_predict_coef.weight",
            "altup_router.weight",
            "altup_router_norm.weight",
            "laurel_l.weight",
            "laurel_r.weight",
            "laurel_post_norm.weight",
        ),
        final=(
            "altup_proj.weight",
            "altup_unembd_proj.weight",
            "per_layer_token_embd.weight",
            "per_layer_model_proj.weight",
            "per_layer_proj_norm.weight",
        ),
        value_norm=True,
        shares_keys=True,
        streams=True,
        rope_base=1000000.0,
        sliding=Sliding(period=5, local_base=10000.0, scaled=False),
        scales="gemma4",
    ),
    "gemma4": ArchitectureFacts(
        pairs="halves",
        activation="gelu_tanh",
        norms=FOUR_NORMS,
        head_norms="head",
        mixers="two sizes",
        ffns="dense and mixture",
        experts="maybe",
        mixture=(
            "ffn_gate_inp.scale",
            "ffn_down_exps.scale",
            "pre_ffw_norm_2.weight",
            "post_ffw_norm_1.weight",
            "post_ffw_norm_2.weight",
        ),
        value_norm=True,
        shares_keys=True,
        rope_base=1000000.0,
        rope_factors="freqs",
        sliding=Sliding(period=0, local_base=10000.0, scaled=False),
        outside_optional=(
            "per_layer_token_embd.weight",
            "per_layer_model_proj.weight",
            "per_layer_proj_norm.weight",
        ),
        layer_optional=("layer_output_scale.weight", "inp_gate.weight", "proj.weight", "post_norm.weight"),
        scales="gemma4",
    ),
}
