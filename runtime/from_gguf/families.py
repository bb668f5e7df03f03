"""How llama.cpp reads each `general.architecture`: one row of facts a family.

Sources: llama.cpp, src/models/<architecture>.cpp (which tensors, which arithmetic) and `llama_model_rope_type`
in src/llama-model.cpp (which channels turn together). Tensor names are stems: `attn_q.weight` stands for
`blk.{i}.attn_q.weight`. Queries, keys and values are in every family, apart or as one `attn_qkv`, with or
without biases.

Some things differ from llama.cpp, which leaves out there what files say: phi3 and llama attend within
`attention.sliding_window`, which llama.cpp has switched off and does not know; command-r norms its heads where the
tensors are there, whatever the number of layers; heads are as wide as the rows of q say where no key does; and
experts may be apart, as files had them before llama.cpp asked for stacked ones, or have their gates' rows before their
ups', as its converter can write them. A tensor that llama.cpp would not look for is read where its meaning is plain:
`output.weight`, the attention's output bias of qwen3, and a llama's two lists of rotary factors whatever the type of
its scaling. A weight's `.scale` is heeded in every family, where of llama.cpp's graphs only llama's, qwen3's and
qwen3moe's heed that of a feed-forward network. A gemma3 without `rope.freq_base` turns by Gemma 3's 1000000, not by
llama.cpp's 10000. gpt-oss' yarn does not round its two dimensions, exaone4 has its windows whatever the number of
layers, and mistral4 its temperature, as the originals have them and llama.cpp has not. falcon's, gptneox' and mpt's
GELU is the original's, where ggml's is the tanh form in every family, and gemma3n's spread of gates is over N, not
N − 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llorch.runtime.traits import Activation, NormKind, RotaryPairs, Temperature

GATED = ("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")
UNGATED = ("ffn_up.weight", "ffn_up.bias", "ffn_down.weight", "ffn_down.bias")
FUSED = ("ffn_up.weight", "ffn_down.weight")
EXPERTS = ("ffn_gate_inp.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight")
FUSED_EXPERTS = ("ffn_gate_inp.weight", "ffn_gate_up_exps.weight", "ffn_down_exps.weight")
SPLIT_EXPERTS = ("ffn_gate", "ffn_up", "ffn_down")  # before spring 2024: `ffn_up.{e}.weight`, one an expert
SHARED = (
    "ffn_gate_inp_shexp.weight",
    "ffn_gate_shexp.weight",
    "ffn_up_shexp.weight",
    "ffn_down_shexp.weight",
)
# Roles → stems without `.weight`; what a family names otherwise, its row says.
ROLES: Mapping[str, str] = {
    "attention_norm": "attn_norm",
    "attention_post_norm": "post_attention_norm",
    "ffn_norm": "ffn_norm",
    "ffn_post_norm": "post_ffw_norm",
    "final_norm": "output_norm",
    "shared_router": "ffn_gate_inp_shexp",
}
FFN_NORM_NAMED_POST: Mapping[str, str] = {"ffn_norm": "post_attention_norm", "attention_post_norm": ""}
SHARED_EXPERTS = SHARED[1:]
CHOICE_BIAS = ("exp_probs_b.bias",)
DELTA_NET = (
    "attn_qkv.weight", "attn_gate.weight", "ssm_conv1d.weight", "ssm_a", "ssm_dt.bias", "ssm_norm.weight",
    "ssm_out.weight",
)  # fmt: skip
MAMBA2 = (
    "ssm_in.weight", "ssm_conv1d.weight", "ssm_conv1d.bias", "ssm_a", "ssm_d", "ssm_dt.bias", "ssm_norm.weight",
    "ssm_out.weight",
)  # fmt: skip
SHORT_CONV = ("shortconv.in_proj.weight", "shortconv.conv.weight", "shortconv.out_proj.weight")
MAMBA = (
    "ssm_in.weight", "ssm_conv1d.weight", "ssm_conv1d.bias", "ssm_x.weight", "ssm_dt.weight", "ssm_dt.bias", "ssm_a",
    "ssm_d", "ssm_out.weight",
)  # fmt: skip
LATENT = ("attn_kv_a_mqa.weight", "attn_kv_a_norm.weight", "attn_output.weight")
TWO_NORMS = ("attn_norm.weight", "ffn_norm.weight")
FOUR_NORMS = (*TWO_NORMS, "post_attention_norm.weight", "post_ffw_norm.weight")
WITH_BIAS = ("attn_norm.weight", "attn_norm.bias", "ffn_norm.weight", "ffn_norm.bias")


@dataclass(frozen=True, slots=True)
class Sliding:
    """Which layers slide when the file does not say: layer i, where i mod `period` is not the last; 0 is all.

    default: the window without the key; None is no window at all, and then no layer slides.
    local_base: rotary base of sliding layers without `rope.freq_base_swa`; None is the other layers' base.
    scaled: whether sliding layers share the other layers' rotary scaling, or have none.
    full_turns: whether the other layers are rotated, in a model that has sliding ones.
    """

    period: int
    default: int | None = None
    local_base: float | None = None
    scaled: bool = True
    full_turns: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureFacts:
    """One architecture's facts.

    eps: the key of the norms' epsilon, where it is not that of the kind of norm. original_yarn: yarn's two
        dimensions are not rounded, as the original has it, where ggml rounds them in every family.
    whole_heads: whether heads are rotated whole, so that `rope.dimension_count` says their size where no key does.
    norms, ffn, required, optional: stems of every layer; ffn is replaced by the expert stems in files with experts.
    final: what is outside the layers beside `token_embd.weight` and `output_norm.weight`.
    head_required: whether `output.weight` must be there; else the embedding serves where it is not.
    parallel: always, in files without `ffn_norm.weight`, or by a key. two_norms: the stem that says, where it is there,
        that a parallel block's feed-forward has a norm of its own.
    fused_gate: `ffn_up` holds the gate's rows before its own.
    head_norms: `head` weights for one head that all share, `heads` a row for each, `row` for the undivided row.
    norm_stored_offset: what the converter added to norm weights; rounding happens on the weight without it.
    experts: `no`, `maybe` (by `expert_count`), `always`, or `shared` (always, with a shared expert).
    rope_base: the rotary base without `rope.freq_base`.
    rope_factors: which tensors may divide the frequencies.
    rope_switch: whether `rope.scaling.finetuned = false` means that nothing is rotated.
    rope_skips: every so many layers, the last is not rotated; 0 is none.
    roles: GGUF's names of roles, where they are not `ROLES`; an empty one is a role that the family does not have.
    mixers: what mixes positions (`kinds.py`); recurrent: the stems that a mixer which is no attention has.
    tiled: whether value heads are numbered [repeat][key head]. ffns: which network a layer has. mixture, shared:
        stems of a mixture beside its
        experts' three, and of the network that all positions share. ungated_experts: experts have no gate.
    gating: how experts are scored without `expert_gating_func`: 1 softmax, 2 sigmoid, 3 softmax of the chosen.
    temperature_beta: the published one of a family whose files do not say it.
    head_norm_after_rope, value_norm, output_gate, sinks, temperature, shares_keys: as in `Traits`.
    alibi: the largest exponent of its slopes, 0 where a key says it. clamps: whether a key bounds queries, keys and
        values. learned_positions, embedding_norm, plain_head_norm, weighs_input, streams: as in `Traits` and `Routing`.
    chunk: of the attention of layers that rotate. floor_temperature: of those that do not.
    outside_optional: further tensors outside the layers. prediction: layers beyond the model's own may follow.
    rotates: whether queries and keys turn by position at all. log_multiplier: what
        makes the key of yarn's multiplier the original's number.
    scales: which multipliers and soft-caps exist; `scales.py` has a function for each.
    """

    pairs: RotaryPairs
    whole_heads: bool = False
    norm: NormKind = "rms"
    eps: str | None = None
    activation: Activation = "silu"
    norms: tuple[str, ...] = TWO_NORMS
    ffn: tuple[str, ...] = GATED
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    final_optional: tuple[str, ...] = ()
    head_required: bool = False
    parallel: bool | Literal["without ffn_norm", "use_parallel_residual"] = False
    two_norms: str = ""
    fused_gate: bool = False
    head_norms: Literal["head", "heads", "row"] | None = None
    head_norms_required: bool = True
    norm_stored_offset: float = 0.0
    experts: Literal["no", "maybe", "always", "shared"] = "no"
    experts_renormalised: bool = True
    rope_base: float = 10000.0
    rope_factors: Literal["none", "freqs", "long and short"] = "none"
    rope_switch: bool = False
    rope_skips: int = 0
    sliding: Sliding | None = None
    scales: Literal[
        "plain",
        "gemma",
        "gemma2",
        "gemma3",
        "gemma4",
        "granite",
        "minicpm",
        "command-r",
        "latent",
        "unscaled",
    ] = "plain"
    roles: Mapping[str, str] = field(default_factory=dict)
    mixers: str = "attention"
    recurrent: tuple[str, ...] = ()
    tiled: bool = False
    ffns: Literal["alike", "leading dense", "dense and mixture", "every so many", "where wide", "none"] = (
        "alike"
    )
    mixture: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    ungated_experts: bool = False
    gating: int = 1
    head_norm_after_rope: bool = False
    value_norm: bool = False
    output_gate: bool = False
    sinks: bool = False
    temperature: bool = False
    temperature_beta: float = 0.0
    shares_keys: bool = False
    outside_optional: tuple[str, ...] = ()
    layer_optional: tuple[str, ...] = ()
    prediction: bool = False
    rotates: bool = True
    log_multiplier: float = 0.0
    original_yarn: bool = False
    alibi: float | None = None
    learned_positions: bool = False
    embedding_norm: bool = False
    clamps: bool = False
    plain_head_norm: bool = False
    weighs_input: bool = False
    chunk: int = 0
    floor_temperature: Temperature | None = None
    streams: bool = False


LLAMA_BIASES = ("attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias")
FINAL_BIAS = ("output_norm.bias",)
# Of the years before rotary embeddings: one tensor for queries, keys and values, biases everywhere, positions learned.
EARLY: dict[str, Any] = {
    "pairs": "halves",
    "norm": "layer",
    "norms": WITH_BIAS,
    "ffn": UNGATED,
    "required": ("attn_output.bias",),
    "final": FINAL_BIAS,
    "rotates": False,
}
# Queries of layers that do not rotate grow with their position; src/models/llama4.cpp has these numbers built in.
FLOOR_TEMPERATURE = Temperature(0.1, 8192, offset=1, unrotated_only=True)

FAMILIES: dict[str, ArchitectureFacts] = {
    "llama": ArchitectureFacts(
        pairs="interleaved",
        whole_heads=True,
        optional=LLAMA_BIASES,
        experts="maybe",
        rope_factors="freqs",
        sliding=Sliding(period=0),
    ),
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
    "phi3": ArchitectureFacts(
        pairs="halves",
        ffn=FUSED,
        fused_gate=True,
        rope_factors="long and short",
        sliding=Sliding(period=0),
    ),
    "qwen2": ArchitectureFacts(pairs="halves", final_optional=("output.bias",)),
    "qwen2vl": ArchitectureFacts(pairs="halves"),
    "qwen2moe": ArchitectureFacts(
        pairs="halves", experts="shared", experts_renormalised=False, head_required=True
    ),
    "qwen3": ArchitectureFacts(pairs="halves", head_norms="head", optional=("attn_output.bias",)),
    "qwen3moe": ArchitectureFacts(
        pairs="halves", head_norms="head", optional=("attn_output.bias",), experts="always"
    ),
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
    "granite": ArchitectureFacts(
        pairs="interleaved",
        optional=LLAMA_BIASES,
        rope_factors="freqs",
        rope_switch=True,
        scales="granite",
    ),
    "olmo2": ArchitectureFacts(
        pairs="halves",
        norms=("post_attention_norm.weight", "post_ffw_norm.weight"),
        head_norms="row",
        head_required=True,
        sliding=Sliding(period=4, scaled=False),
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
    "starcoder2": ArchitectureFacts(
        pairs="halves",
        norm="layer",
        activation="gelu_tanh",
        norms=WITH_BIAS,
        ffn=UNGATED,
        required=("attn_output.bias",),
        final=FINAL_BIAS,
    ),
    "smollm3": ArchitectureFacts(pairs="interleaved", rope_skips=4),
    "command-r": ArchitectureFacts(
        pairs="interleaved",
        norm="layer",
        norms=("attn_norm.weight",),
        parallel=True,
        head_norms="heads",
        head_norms_required=False,
        scales="command-r",
    ),
    "mistral3": ArchitectureFacts(
        pairs="interleaved", optional=LLAMA_BIASES, rope_factors="freqs", temperature=True, log_multiplier=1.0
    ),
    "qwen3vl": ArchitectureFacts(pairs="halves", head_norms="head"),
    "qwen3vlmoe": ArchitectureFacts(pairs="halves", head_norms="head", experts="always"),
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
    "minimax-m2": ArchitectureFacts(
        pairs="halves", head_norms="row", experts="always", mixture=CHOICE_BIAS, gating=0
    ),
    "qwen35": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight", "post_attention_norm.weight"),
        roles=FFN_NORM_NAMED_POST,
        norm_stored_offset=1.0,
        head_norms="head",
        mixers="delta net or attention",
        recurrent=(*DELTA_NET, "ssm_alpha.weight", "ssm_beta.weight"),
        tiled=True,
        output_gate=True,
        prediction=True,
    ),
    "qwen35moe": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight", "post_attention_norm.weight"),
        roles=FFN_NORM_NAMED_POST,
        norm_stored_offset=1.0,
        head_norms="head",
        mixers="delta net or attention",
        recurrent=(*DELTA_NET, "ssm_alpha.weight", "ssm_beta.weight"),
        tiled=True,
        output_gate=True,
        experts="always",
        shared=SHARED,
        prediction=True,
    ),
    "qwen3next": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight", "post_attention_norm.weight"),
        roles=FFN_NORM_NAMED_POST,
        norm_stored_offset=1.0,
        head_norms="head",
        mixers="delta net or attention",
        recurrent=(*DELTA_NET, "ssm_ba.weight"),
        output_gate=True,
        experts="always",
        shared=SHARED,
        prediction=True,
    ),
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
    "deepseek2": ArchitectureFacts(
        pairs="interleaved",
        mixers="latent",
        recurrent=LATENT,
        experts="always",
        ffns="leading dense",
        mixture=CHOICE_BIAS,
        shared=SHARED_EXPERTS,
        experts_renormalised=False,
        prediction=True,
        log_multiplier=10.0,
        scales="latent",
    ),
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
    "nemotron_h": ArchitectureFacts(
        pairs="interleaved",
        activation="relu2",
        norms=("attn_norm.weight",),
        ffn=FUSED,
        mixers="one each",
        recurrent=MAMBA2,
        ffns="where wide",
        rotates=False,
        eps="attention.layer_norm_epsilon",
    ),
    "nemotron_h_moe": ArchitectureFacts(
        pairs="interleaved",
        activation="relu2",
        norms=("attn_norm.weight",),
        ffn=FUSED,
        mixers="one each",
        recurrent=MAMBA2,
        ffns="where wide",
        rotates=False,
        eps="attention.layer_norm_epsilon",
        experts="always",
        mixture=CHOICE_BIAS,
        shared=("ffn_up_shexp.weight", "ffn_down_shexp.weight"),
        ungated_experts=True,
        gating=2,
    ),
    "glm4": ArchitectureFacts(pairs="interleaved", norms=FOUR_NORMS, ffn=FUSED, fused_gate=True),
    "chatglm": ArchitectureFacts(pairs="interleaved", ffn=FUSED, fused_gate=True),
    "exaone": ArchitectureFacts(pairs="halves", rope_factors="freqs"),
    "ernie4_5": ArchitectureFacts(pairs="interleaved", optional=LLAMA_BIASES, rope_base=500000.0),
    "ernie4_5-moe": ArchitectureFacts(
        pairs="interleaved",
        optional=("attn_output.bias",),
        rope_base=500000.0,
        experts="always",
        ffns="every so many",
        mixture=CHOICE_BIAS,
        shared=SHARED_EXPERTS,
    ),
    "seed_oss": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight", "post_attention_norm.weight"),
        roles=FFN_NORM_NAMED_POST,
        optional=("attn_output.bias",),
    ),
    "exaone4": ArchitectureFacts(
        pairs="halves",
        norms=("post_attention_norm.weight", "post_ffw_norm.weight"),
        head_norms="head",
        rope_base=1000000.0,
        rope_factors="freqs",
        sliding=Sliding(period=4, full_turns=False),
    ),
    "hunyuan-dense": ArchitectureFacts(pairs="halves", head_norms="head", head_norm_after_rope=True),
    "hunyuan-moe": ArchitectureFacts(
        pairs="halves", head_norms="head", head_norm_after_rope=True, experts="always", shared=SHARED_EXPERTS
    ),
    "olmoe": ArchitectureFacts(
        pairs="halves", head_norms="row", experts="always", experts_renormalised=False, head_required=True
    ),
    "dots1": ArchitectureFacts(
        pairs="halves",
        head_norms="head",
        experts="always",
        ffns="leading dense",
        mixture=CHOICE_BIAS,
        shared=SHARED_EXPERTS,
        experts_renormalised=False,
        gating=2,
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
    "granitemoe": ArchitectureFacts(
        pairs="interleaved", experts="always", rope_factors="freqs", rope_switch=True, scales="granite"
    ),
    "arcee": ArchitectureFacts(pairs="interleaved", activation="relu2", ffn=FUSED, rope_factors="freqs"),
    "mistral4": ArchitectureFacts(
        pairs="interleaved",
        mixers="latent",
        recurrent=LATENT,
        experts="always",
        ffns="leading dense",
        shared=SHARED_EXPERTS,
        experts_renormalised=False,
        temperature=True,
        temperature_beta=0.1,
        log_multiplier=10.0,
        scales="latent",
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
    "mamba": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight",),
        mixers="mamba",
        recurrent=MAMBA,
        ffns="none",
        rotates=False,
        scales="unscaled",
    ),
    "mamba2": ArchitectureFacts(
        pairs="halves",
        norms=("attn_norm.weight",),
        mixers="mamba2",
        recurrent=MAMBA2,
        ffns="none",
        rotates=False,
        scales="unscaled",
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
        ffns="every so many",
        shared=SHARED_EXPERTS,
        gating=2,
        weighs_input=True,
        rope_skips=4,
        plain_head_norm=True,
        head_norm_after_rope=True,
        chunk=8192,
        floor_temperature=FLOOR_TEMPERATURE,
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
    "internlm2": ArchitectureFacts(pairs="interleaved", head_required=True),
    "xverse": ArchitectureFacts(pairs="interleaved", head_required=True),
    "minicpm": ArchitectureFacts(
        pairs="interleaved", optional=LLAMA_BIASES, rope_factors="freqs", scales="minicpm"
    ),
}
