"""The table of facts that describes an architecture for the GGUF reading, and tensor names that many families share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
# Roles → tensor names without `.weight`; a family's row has those that differ.
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
FINAL_BIAS = ("output_norm.bias",)
FFN_BIASES = ("ffn_gate.bias", "ffn_up.bias", "ffn_down.bias")
LLAMA_BIASES = ("attn_output.bias", *FFN_BIASES)
CHOICE_BIAS = ("exp_probs_b.bias",)
BARE_CHOICE_BIAS = ("exp_probs_b",)  # the name in Hunyuan 3's files
CHOICE_BIASES = (*CHOICE_BIAS, *BARE_CHOICE_BIAS)
FUSED_SHARED = SHARED_EXPERTS[1:]  # the gate's rows before the up's
MAY_LACK = (*CHOICE_BIASES, *SHARED_EXPERTS)  # tensors beside a mixture's experts that a file may lack

DELTA_NET = (
    "attn_qkv.weight", "attn_gate.weight", "ssm_conv1d.weight", "ssm_a", "ssm_dt.bias", "ssm_norm.weight",
    "ssm_out.weight",
)  # fmt: skip
MAMBA2_NORM = "ssm_norm.weight"
MAMBA2 = (
    "ssm_in.weight", "ssm_conv1d.weight", "ssm_conv1d.bias", "ssm_a", "ssm_d", "ssm_dt.bias", MAMBA2_NORM,
    "ssm_out.weight",
)  # fmt: skip
SHORT_CONV = ("shortconv.in_proj.weight", "shortconv.conv.weight", "shortconv.out_proj.weight")
MAMBA = (
    "ssm_in.weight", "ssm_conv1d.weight", "ssm_conv1d.bias", "ssm_x.weight", "ssm_dt.weight", "ssm_dt.bias", "ssm_a",
    "ssm_d", "ssm_out.weight",
)  # fmt: skip
LATENT = ("attn_kv_a_mqa.weight", "attn_kv_a_norm.weight", "attn_output.weight")
SUB_NORMS = ("attn_sub_norm.weight", "ffn_sub_norm.weight")
OWN_GATE = "attn_gate.weight"  # of attention's output, if its rows are not interleaved with the query's
TWO_NORMS = ("attn_norm.weight", "ffn_norm.weight")
FOUR_NORMS = (*TWO_NORMS, "post_attention_norm.weight", "post_ffw_norm.weight")
WITH_BIAS = ("attn_norm.weight", "attn_norm.bias", "ffn_norm.weight", "ffn_norm.bias")


@dataclass(frozen=True, slots=True)
class Sliding:
    """Which layers have a sliding window if the file does not say: layer i if i mod `period` < period − 1; 0 is all.

    default: the window without the key; None is no window, so that no layer slides.
    full_first: the first of every `period` layers is the full one, not the last.
    local_base: RoPE base of sliding layers without `rope.freq_base_swa`; None is the other layers' base.
    scaled: whether sliding layers have the RoPE scaling of the other layers, or none.
    full_attention_rope: whether the full-attention layers of a model with sliding ones have RoPE, or only the dense.
    """

    period: int
    default: int | None = None
    local_base: float | None = None
    scaled: bool = True
    full_attention_rope: bool | Literal["where dense"] = True
    full_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureFacts:
    """One architecture's facts. Tensor names are without `blk.N.`.

    norm: "by epsilon" is RMS norm if the file has that epsilon, else layer norm.
    eps: key of the norms' epsilon, if it is not the usual one of that kind of norm. original_yarn: the two YaRN
        dimensions are not rounded, as in the original; ggml rounds them in every family.
    whole_heads: RoPE covers whole heads, so `rope.dimension_count` gives the head size if no other key does.
    norms, ffn, required, optional: tensors of every layer; ffn is replaced by the expert tensors in files with experts.
    final: tensors outside the layers, beside `token_embd.weight` and `output_norm.weight`.
    head_required: whether `output.weight` must exist; otherwise the embedding is used in its absence.
    parallel: always, in files without `ffn_norm.weight`, or by a key. two_norms: the tensor whose presence says
        that the feed-forward network of a parallel block has its own norm.
    fused_gate: `ffn_up` holds the gate's rows before its own; fused_shared_gate: `ffn_up_shexp` does.
    head_norms: `head` is one weight that all heads share, `heads` a row for each, `row` one for the undivided row.
    bare_norms: no norm has a weight.
    norm_stored_offset: what the converter added to norm weights; rounding happens on the weight without it.
    experts: `no`, `maybe` (by `expert_count`), `always`, or `shared` (always, with a shared expert).
    rope_base: RoPE base without `rope.freq_base`. rope_alpha: whether `rope.scaling.alpha` increases the base.
    rope_factors: which tensors may divide the RoPE frequencies.
    rope_switch: whether `rope.scaling.finetuned = false` means no RoPE.
    rope_skips: every `rope_skips`-th layer has no RoPE; 0 is none. rope_pattern: whether a key may list the layers
        with RoPE.
    roles: GGUF's names of roles that differ from `ROLES`; an empty name is a role that the family lacks.
    mixers: the layers' mixers, a key of `kinds.MIXERS`; recurrent: tensors of a mixer that is not attention.
    latent_eps: of the norms of latent vectors, if it differs from the other norms'.
    tiled: whether value heads are numbered [repeat][key head]. ffns: which kind of network each layer has.
    mixture, shared: tensors of a mixture beside its experts' three, and of the shared expert.
        ungated_experts: experts have no gate.
    sparse_mixer: jitter of a family that routes by the sparse mixer; 0 for others. longrope_scale: LongRoPE's factor on
        cosine and sine, where the original's differs from the one that llama.cpp's converter writes.
    gating: how experts are scored without `expert_gating_func`: 1 softmax, 2 sigmoid, 3 softmax of the chosen.
        gating_of_chosen: 1 means softmax of the chosen too. averages: the outputs of routed and shared experts are
        averaged.
    temperature_beta, least_step: published values, for families whose files do not have them.
    own_values: whether values may be of another width than keys.
    softplus_gate: as in `Traits`; such a gate may have one row per head.
    output_gate: the output gate's rows are interleaved with the query's. head_norm_after_rope, value_norm, sinks,
        temperature, shares_keys: as in `Traits`.
    alibi: largest exponent of the slopes, 0 if a key gives it. alibi_layers: a model with this many layers has ALiBi
        with exponent 8 and no RoPE. clamps: whether a key bounds queries, keys and values.
    learned_positions, embedding_norm, plain_head_norm, weighs_input, streams: as in `Traits` and `Routing`.
    chunk: chunk size of attention in layers with RoPE. floor_temperature: of the layers without RoPE.
    outside_optional: optional tensors outside the layers. prediction: multi-token-prediction layers may follow.
    rotates: whether the architecture has RoPE at all. log_multiplier: factor that turns the key of YaRN's multiplier
        into the original's number.
    scales: which multipliers and soft-caps exist; `scales.py` has a function for each.
    """

    pairs: RotaryPairs
    whole_heads: bool = False
    norm: NormKind | Literal["by epsilon"] = "rms"
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
    fused_shared_gate: bool = False
    head_norms: Literal["head", "heads", "row"] | None = None
    head_norms_required: bool = True
    bare_norms: bool = False
    norm_stored_offset: float = 0.0
    experts: Literal["no", "maybe", "always", "shared"] = "no"
    experts_renormalised: bool = True
    rope_base: float = 10000.0
    rope_alpha: bool = False
    rope_factors: Literal["none", "freqs", "long and short"] = "none"
    rope_switch: bool = False
    rope_skips: int = 0
    rope_pattern: bool = False
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
        "values",
    ] = "plain"
    roles: Mapping[str, str] = field(default_factory=dict)
    mixers: str = "attention"
    recurrent: tuple[str, ...] = ()
    latent_eps: float | None = None
    tiled: bool = False
    ffns: Literal[
        "alike", "leading dense", "where routed", "dense and mixture", "at intervals", "by width", "none"
    ] = "alike"
    mixture: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    ungated_experts: bool = False
    gating: int = 1
    gating_of_chosen: bool = False
    averages: bool = False
    sparse_mixer: float = 0.0
    longrope_scale: float = 0.0
    head_norm_after_rope: bool = False
    value_norm: bool = False
    output_gate: bool = False
    softplus_gate: bool = False
    own_values: bool = False
    sinks: bool = False
    temperature: bool = False
    temperature_beta: float = 0.0
    least_step: float = 0.0
    shares_keys: bool = False
    outside_optional: tuple[str, ...] = ()
    layer_optional: tuple[str, ...] = ()
    prediction: bool = False
    rotates: bool = True
    log_multiplier: float = 0.0
    original_yarn: bool = False
    alibi: float | None = None
    alibi_layers: int = 0
    learned_positions: bool = False
    embedding_norm: bool = False
    clamps: bool = False
    plain_head_norm: bool = False
    weighs_input: bool = False
    chunk: int = 0
    floor_temperature: Temperature | None = None
    streams: bool = False
