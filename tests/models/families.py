"""Tiny random models of the families that no file in the test data covers, written as llama.cpp's converter would.

As `from_transformers`, whose forward direction is extended here by what single tensors become; each function is written
from llama.cpp's `conversion/` and shares nothing with `converter`. No size is a power of two that would hide a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.from_transformers import Array, Value, _add, permuted, tokenizer_keys

VOCAB, HIDDEN, FF, CONTEXT = 272, 60, 92, 256
Change = Callable[[Array], Mapping[str, Array]]


@dataclass(frozen=True)
class FamilyRecipe:
    """How one model is made and written.

    config: of its config class. names: modules of a layer → GGUF names. outside: the same for the rest.
    changes: tensors of a layer, by all of their name → what they become. joined: GGUF names → the tensors of a layer
    that are one below the other in them. norms_plus_one: but for those of a gate.
    folded: tensors, by the end of their name → the same with what multiplies their product in them, which a file has
        no other place for: a folder holds them so.
    keys: metadata under the architecture's prefix, all of it. layers: what stands before a layer's number.
    """

    gguf: str
    class_name: str
    config: Mapping[str, Any]
    names: Mapping[str, str]
    keys: Mapping[str, Value]
    outside: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folded: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)
    permuted: bool = False
    norms_plus_one: bool = False
    layers: str = "model.layers"


def renamed(name: str) -> Change:
    """The same numbers under another name."""
    return lambda w: {name: w}


def decay(w: Array) -> Mapping[str, Array]:
    """conversion/base.py: A_log → −exp(A_log)."""
    return {"ssm_a": -np.exp(w)}


def tiled(name: str, groups: int, rows: int, after: int = 0, axis: int = 0) -> Change:
    """conversion/qwen.py, `_reorder_v_heads`: value heads from [group][repeat] to [repeat][group]."""

    def change(w: Array) -> Mapping[str, Array]:
        w = np.moveaxis(w.reshape(w.shape[0], -1) if w.ndim == 3 else w, axis, 0)
        head, rest = w[:after], w[after:]
        moved = rest.reshape(groups, -1, rows, *rest.shape[1:]).swapaxes(0, 1).reshape(rest.shape)
        return {name: np.moveaxis(np.concatenate([head, moved]), 0, axis)}

    return change


def tiled_decay(groups: int) -> Change:
    """Both of the two before."""
    return lambda w: tiled("ssm_a", groups, 1)(-np.exp(w))


def halves(first: str, second: str) -> Change:
    """Gate and up of every expert, one below the other → apart."""
    return lambda w: dict(zip((first, second), np.split(w, 2, axis=-2), strict=True))


def latent(heads: int, nope: int) -> Change:
    """conversion/deepseek.py: kv_b → each head's k_b, transposed, and v_b."""

    def change(w: Array) -> Mapping[str, Array]:
        each = w.reshape(heads, -1, w.shape[-1])
        return {"attn_k_b.weight": each[:, :nope].swapaxes(1, 2), "attn_v_b.weight": each[:, nope:]}

    return change


def transposed(name: str) -> Change:
    """conversion/gpt2.py: matrices that transformers has (in, out)."""
    return lambda w: {name: w.T}


def apart_by_head(name: str, kv_heads: int, group: int) -> Change:
    """conversion/falcon.py, bloom.py, gptneox.py: each key head's queries, key and value → all of each."""

    def change(w: Array) -> Mapping[str, Array]:
        each = w.reshape(kv_heads, group + 2, -1, *w.shape[1:])
        parts = (each[:, :group], each[:, group], each[:, group + 1])
        return {name: np.concatenate([part.reshape(-1, *w.shape[1:]) for part in parts])}

    return change


def qkv_by_head(module: str, kv_heads: int, group: int) -> dict[str, Change]:
    """Its weight and its bias."""
    return {f"{module}.{x}": apart_by_head(f"attn_qkv.{x}", kv_heads, group) for x in ("weight", "bias")}


def column(name: str) -> Change:
    """conversion/mamba.py: a vector as a matrix of one column."""
    return lambda w: {name: w[:, None]}


def squeezed(name: str) -> Change:
    """A convolution's filters without the dimension of 1."""
    return lambda w: {name: w[:, 0]}


def times(*factors: float) -> Callable[[Array], Array]:
    """By one after the other, in float32."""

    def multiplied(w: Array) -> Array:
        for factor in factors:
            w = w * np.float32(factor)
        return w

    return multiplied


def times_by_rows(factor: float, *parts: tuple[int, float]) -> Callable[[Array], Array]:
    """conversion/falcon_h1.py: all rows by one number, then so many of them each by one of their own."""

    def multiplied(w: Array) -> Array:
        rows = [np.full(count, own, np.float32) for count, own in parts]
        return w * np.float32(factor) * np.concatenate(rows)[:, None]

    return multiplied


ATTENTION = {
    f"self_attn.{one}_proj": f"attn_{two}" for one, two in zip("qkvo", ("q", "k", "v", "output"), strict=True)
}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
TWO_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
POST_NORM = {"input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm"}
GATED = {f"mlp.{one}_proj": f"ffn_{one}" for one in ("gate", "up", "down")}
EXPERTS = {
    "mlp.gate": "ffn_gate_inp",
    **{f"mlp.experts.{{e}}.{x}_proj": f"ffn_{x}_exps" for x in ("gate", "up", "down")},
}
SHARED = {f"mlp.shared_experts.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")}
CHOICE_BIAS = {"mlp.gate.e_score_correction_bias": renamed("exp_probs_b.bias")}
RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
ROPE = {"rope_theta": 50000.0, "rope_type": "default"}
THETA = {"rope.freq_base": 50000.0}
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 12}
HEAD_KEYS = {"attention.head_count": 6, "attention.head_count_kv": 3, "attention.key_length": 12,
             "attention.value_length": 12}  # fmt: skip
OF_HIDDEN = {"num_attention_heads": 6, "num_key_value_heads": 3}
OF_HIDDEN_KEYS = {"attention.head_count": 6, "attention.head_count_kv": 3}
MIXTURE_KEYS = {"expert_count": 7, "expert_used_count": 3, "expert_feed_forward_length": 20}
FUSED = {
    "block_sparse_moe.input_linear.weight": halves("ffn_gate_exps.weight", "ffn_up_exps.weight"),
    "block_sparse_moe.output_linear.weight": renamed("ffn_down_exps.weight"),
}
LATENT = {
    **TWO_NORMS, **GATED, **EXPERTS, **SHARED,
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.o_proj": "attn_output", "self_attn.q_proj": "attn_q", "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
}  # fmt: skip
LATENT_CONFIG = {"num_attention_heads": 5, "num_key_value_heads": 5, "kv_lora_rank": 28, "qk_nope_head_dim": 12,
                 "qk_rope_head_dim": 6, "v_head_dim": 10, "moe_intermediate_size": 20, "n_routed_experts": 7,
                 "num_experts_per_tok": 3}  # fmt: skip
LATENT_KEYS = {"attention.head_count": 5, "attention.head_count_kv": 1, "attention.key_length": 34,
               "attention.value_length": 28, "attention.key_length_mla": 18, "attention.value_length_mla": 10,
               "attention.kv_lora_rank": 28, "rope.dimension_count": 6, "leading_dense_block_count": 1}  # fmt: skip

QKV = {f"attn_qkv.{x}": tuple(f"self_attn.{part}_proj.{x}" for part in "qkv") for x in ("weight", "bias")}
LAYER = {"attention.layer_norm_epsilon": 1e-5}
FALCON = {"self_attention.query_key_value": "attn_qkv", "self_attention.dense": "attn_output",
          "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}  # fmt: skip
FALCON_OUTSIDE = {"transformer.word_embeddings": "token_embd", "transformer.ln_f": "output_norm"}
GPTNEOX = {
    **TWO_NORMS,
    **{name.replace("self_attention", "attention"): ours for name, ours in FALCON.items()},
}
GPTNEOX_OUTSIDE = {
    "gpt_neox.embed_in": "token_embd",
    "gpt_neox.final_layer_norm": "output_norm",
    "embed_out": "output",
}
GPT2_MATRICES = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
GPT2 = {**GPT2_MATRICES, "ln_1": "attn_norm", "ln_2": "ffn_norm"}
GPT2_OUTSIDE = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
}

FALCON_H1 = FamilyRecipe(
    "falcon-h1", "FalconH1ForCausalLM",
    {**HEADS, "mamba_d_ssm": 66, "mamba_n_heads": 6, "mamba_d_head": 11, "mamba_n_groups": 3, "mamba_d_state": 13,
     "mamba_d_conv": 3, "mamba_chunk_size": 16, "attention_in_multiplier": 0.7, "attention_out_multiplier": 0.9375,
     "key_multiplier": 0.390625, "ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.2357,
     "ssm_multipliers": [0.35, 0.25, 0.3535, 0.5, 0.45], "mlp_multipliers": [0.8838, 0.5859375],
     "embedding_multiplier": 5.65, "lm_head_multiplier": 0.039, "rope_parameters": ROPE},
    {**ATTENTION, "input_layernorm": "attn_norm", "mamba.in_proj": "ssm_in", "mamba.out_proj": "ssm_out",
     **{f"feed_forward.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")}},
    {**HEAD_KEYS, **RMS, **THETA, "ssm.conv_kernel": 3, "ssm.inner_size": 66, "ssm.state_size": 13,
     "ssm.time_step_rank": 6, "ssm.group_count": 3, "vocab_size": VOCAB},
    outside={"model.final_layernorm": "output_norm"},
    changes={"mamba.A_log": lambda w: {"ssm_a": -np.exp(w)[:, None]}, "mamba.D": column("ssm_d"),
             "mamba.dt_bias": renamed("ssm_dt.bias"), "mamba.conv1d.weight": squeezed("ssm_conv1d.weight"),
             "mamba.conv1d.bias": renamed("ssm_conv1d.bias"), "pre_ff_layernorm.weight": renamed("ffn_norm")},
    folded={"model.embed_tokens.weight": times(5.65), "lm_head.weight": times(0.039),
            "self_attn.q_proj.weight": times(0.7), "self_attn.k_proj.weight": times(0.390625, 0.7),
            "self_attn.v_proj.weight": times(0.7), "self_attn.o_proj.weight": times(0.9375),
            "mamba.in_proj.weight": times_by_rows(1.25, (66, 0.35), (66, 0.25), (39, 0.3535), (39, 0.5), (6, 0.45)),
            "mamba.out_proj.weight": times(0.2357), "feed_forward.gate_proj.weight": times(0.8838),
            "feed_forward.gate_proj.bias": times(0.8838), "feed_forward.down_proj.weight": times(0.5859375),
            "feed_forward.down_proj.bias": times(0.5859375)},
)  # fmt: skip

FAMILY_RECIPES: Mapping[str, FamilyRecipe] = {
    "dots1": FamilyRecipe(
        "dots1", "Dots1ForCausalLM",
        {**HEADS, "moe_intermediate_size": 20, "n_routed_experts": 7, "n_shared_experts": 2, "num_experts_per_tok": 3,
         "first_k_dense_replace": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.7, "sliding_window": None,
         "rope_parameters": ROPE},
        {**ATTENTION, **HEAD_NORMS, **TWO_NORMS, **GATED, **EXPERTS, **SHARED},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_shared_count": 2, "leading_dense_block_count": 1,
         "expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 1.7},
        changes=CHOICE_BIAS,
    ),
    "cohere2": FamilyRecipe(
        "cohere2", "Cohere2ForCausalLM",
        {**HEADS, "num_hidden_layers": 5, "sliding_window": 11, "logit_scale": 0.37, "tie_word_embeddings": True,
         "layer_norm_eps": 1e-5, "rope_parameters": ROPE},
        {**ATTENTION, **GATED, "input_layernorm": "attn_norm"},
        {**HEAD_KEYS, **THETA, "attention.layer_norm_epsilon": 1e-5, "attention.sliding_window": 11,
         "logit_scale": 0.37, "rope.scaling.type": "none"},
    ),
    "hunyuan-dense": FamilyRecipe(
        "hunyuan-dense", "HunYuanDenseV1ForCausalLM", {**HEADS, "tie_word_embeddings": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED, "self_attn.query_layernorm": "attn_q_norm",
         "self_attn.key_layernorm": "attn_k_norm"},
        {**HEAD_KEYS, **RMS, **THETA},
    ),
    "granitemoe": FamilyRecipe(
        "granitemoe", "GraniteMoeForCausalLM",
        {**OF_HIDDEN, "intermediate_size": 20, "num_local_experts": 7, "num_experts_per_tok": 3,
         "attention_multiplier": 0.2, "embedding_multiplier": 3.3, "residual_multiplier": 0.7, "logits_scaling": 1.7,
         "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, "block_sparse_moe.router.layer": "ffn_gate_inp"},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "expert_count": 7, "expert_used_count": 3, "attention.scale": 0.2,
         "embedding_scale": 3.3, "residual_scale": 0.7, "logit_scale": 1.7, "rope.dimension_count": 10},
        changes=FUSED, permuted=True,
    ),
    "ernie4_5-moe": FamilyRecipe(
        "ernie4_5-moe", "Ernie4_5_MoeForCausalLM",
        {**OF_HIDDEN, "num_hidden_layers": 5, "moe_num_experts": 7, "moe_k": 3, "moe_intermediate_size": 20,
         "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_interval": 2,
         "tie_word_embeddings": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED, **EXPERTS, **SHARED},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_shared_count": 2, "interleave_moe_layer_step": 2,
         "leading_dense_block_count": 1},
        changes={"mlp.moe_statics.e_score_correction_bias": lambda w: {"exp_probs_b.bias": w[0]}},
    ),
    "lfm2moe": FamilyRecipe(
        "lfm2moe", "Lfm2MoeForCausalLM",
        {**OF_HIDDEN, "num_hidden_layers": 5, "moe_intermediate_size": 20, "num_experts": 7,
         "num_experts_per_tok": 3, "num_dense_layers": 2, "conv_L_cache": 3, "tie_word_embeddings": True,
         "layer_types": ["conv", "full_attention", "conv", "conv", "full_attention"], "rope_parameters": ROPE},
        {"operator_norm": "attn_norm", "ffn_norm": "ffn_norm",
         **{k.replace("o_proj", "out_proj"): v for k, v in ATTENTION.items()},
         "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm",
         "conv.in_proj": "shortconv.in_proj", "conv.out_proj": "shortconv.out_proj",
         "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down",
         "feed_forward.gate": "ffn_gate_inp", "feed_forward.experts.{e}.w1": "ffn_gate_exps",
         "feed_forward.experts.{e}.w3": "ffn_up_exps", "feed_forward.experts.{e}.w2": "ffn_down_exps"},
        {**RMS, **THETA, **MIXTURE_KEYS, "attention.head_count": 6, "attention.head_count_kv": [0, 3, 0, 0, 3],
         "shortconv.l_cache": 3, "leading_dense_block_count": 2, "expert_gating_func": 2},
        outside={"model.embedding_norm": "token_embd_norm"},
        changes={"conv.conv.weight": squeezed("shortconv.conv.weight"),
                 "feed_forward.expert_bias": renamed("exp_probs_b.bias")},
    ),
    "qwen35moe": FamilyRecipe(
        "qwen35moe", "Qwen3_5MoeForCausalLM",
        {**HEADS, "num_hidden_layers": 4, "moe_intermediate_size": 20, "shared_expert_intermediate_size": 28,
         "num_experts": 7, "num_experts_per_tok": 3, "linear_num_key_heads": 3, "linear_num_value_heads": 6,
         "linear_key_head_dim": 10, "linear_value_head_dim": 10, "linear_conv_kernel_dim": 3,
         "layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"],
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 1],
                             "mrope_interleaved": True}},
        {**POST_NORM, **ATTENTION, **HEAD_NORMS, **EXPERTS,
         **{f"mlp.shared_expert.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")},
         "mlp.shared_expert_gate": "ffn_gate_inp_shexp", "linear_attn.norm": "ssm_norm"},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_shared_feed_forward_length": 28,
         "rope.dimension_count": 6, "rope.dimension_sections": [1, 1, 1, 0], "ssm.conv_kernel": 3,
         "ssm.state_size": 10, "ssm.group_count": 3, "ssm.time_step_rank": 6, "ssm.inner_size": 60,
         "attention.recurrent_layers": [True, True, False, True], "tokenizer.ggml.pre": "qwen35"},
        changes={"linear_attn.A_log": tiled_decay(3), "linear_attn.dt_bias": tiled("ssm_dt.bias", 3, 1),
                 "linear_attn.conv1d.weight": tiled("ssm_conv1d.weight", 3, 10, 60),
                 "linear_attn.in_proj_qkv.weight": tiled("attn_qkv.weight", 3, 10, 60),
                 "linear_attn.in_proj_z.weight": tiled("attn_gate.weight", 3, 10),
                 "linear_attn.in_proj_a.weight": tiled("ssm_alpha.weight", 3, 1),
                 "linear_attn.in_proj_b.weight": tiled("ssm_beta.weight", 3, 1),
                 "linear_attn.out_proj.weight": tiled("ssm_out.weight", 3, 10, axis=1)},
        norms_plus_one=True,
    ),
    "deepseek2-lite": FamilyRecipe(
        "deepseek2", "DeepseekV2ForCausalLM",
        {**LATENT_CONFIG, "n_shared_experts": 2, "first_k_dense_replace": 1, "q_lora_rank": None,
         "routed_scaling_factor": 1.3, "topk_method": "greedy",
         "rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
                             "mscale": 0.707, "mscale_all_dim": 0.707, "beta_fast": 32.0, "beta_slow": 1.0}},
        LATENT,
        {**LATENT_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_shared_count": 2, "expert_weights_scale": 1.3,
         "expert_gating_func": 1, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
         "rope.scaling.original_context_length": 32, "rope.scaling.yarn_log_multiplier": 0.0707,
         "rope.scaling.yarn_beta_fast": 32.0, "rope.scaling.yarn_beta_slow": 1.0},
        changes={"self_attn.kv_b_proj.weight": latent(5, 12)},
    ),
    "glm-4.7-flash": FamilyRecipe(
        "deepseek2", "Glm4MoeLiteForCausalLM",
        {**LATENT_CONFIG, "n_shared_experts": 1, "q_lora_rank": 22, "routed_scaling_factor": 1.8,
         "mlp_layer_types": ["dense", "sparse", "sparse"], "rope_parameters": ROPE},
        LATENT,
        {**LATENT_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "attention.q_lora_rank": 22, "expert_shared_count": 1,
         "expert_weights_scale": 1.8, "expert_weights_norm": True, "expert_gating_func": 2,
         "general.name": "GLM-4.7-Flash"},
        changes={"self_attn.kv_b_proj.weight": latent(5, 12), **CHOICE_BIAS},
    ),
    "gemma4-moe": FamilyRecipe(
        "gemma4", "Gemma4ForCausalLM",
        {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 12, "num_hidden_layers": 4,
         "num_global_key_value_heads": 2, "global_head_dim": 20, "hidden_size_per_layer_input": 0,
         "vocab_size_per_layer_input": VOCAB, "enable_moe_block": True, "num_experts": 7, "top_k_experts": 3,
         "moe_intermediate_size": 20, "attention_k_eq_v": True, "sliding_window": 11, "num_kv_shared_layers": 0,
         "layer_types": ["sliding_attention", "full_attention"] * 2, "tie_word_embeddings": True,
         "rms_norm_eps": 1e-5, "final_logit_softcapping": 30.0,
         "rope_parameters": {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.2,
                                                "rope_theta": 50000.0},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
        {**ATTENTION, **HEAD_NORMS, **GATED, "input_layernorm": "attn_norm",
         "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
         "post_feedforward_layernorm": "post_ffw_norm", "pre_feedforward_layernorm_2": "pre_ffw_norm_2",
         "post_feedforward_layernorm_1": "post_ffw_norm_1", "post_feedforward_layernorm_2": "post_ffw_norm_2",
         "router.proj": "ffn_gate_inp"},
        {**RMS, **THETA, **MIXTURE_KEYS, "attention.head_count": 6, "attention.head_count_kv": [3, 2, 3, 2],
         "attention.key_length": 20, "attention.value_length": 20, "attention.key_length_swa": 12,
         "attention.value_length_swa": 12, "rope.dimension_count": 20, "rope.dimension_count_swa": 12,
         "rope.freq_base_swa": 10000.0, "attention.sliding_window": 11, "final_logit_softcapping": 30.0,
         "attention.sliding_window_pattern": [True, False, True, False]},
        changes={"layer_scalar": renamed("layer_output_scale.weight"), "router.scale": renamed("ffn_gate_inp.scale"),
                 "router.per_expert_scale": renamed("ffn_down_exps.scale"),
                 "experts.gate_up_proj": renamed("ffn_gate_up_exps.weight"),
                 "experts.down_proj": renamed("ffn_down_exps.weight")},
        outside={"rope_freqs": "rope_freqs"},
    ),
    "falcon-7b": FamilyRecipe(
        "falcon", "FalconForCausalLM",
        {"num_attention_heads": 6, "multi_query": True, "ffn_hidden_size": FF, "tie_word_embeddings": True,
         "rope_parameters": ROPE},
        {**FALCON, "input_layernorm": "attn_norm"},
        {"attention.head_count": 6, "attention.head_count_kv": 1, **LAYER, **THETA, "feed_forward_length": FF},
        changes={"self_attention.query_key_value.weight": renamed("attn_qkv.weight")},
        outside=FALCON_OUTSIDE, layers="transformer.h",
    ),
    "falcon-11b": FamilyRecipe(
        "falcon", "FalconForCausalLM",
        {"num_attention_heads": 6, "num_kv_heads": 3, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 1,
         "ffn_hidden_size": FF, "rope_parameters": ROPE},
        {**FALCON, "input_layernorm": "attn_norm"},
        {**OF_HIDDEN_KEYS, **LAYER, **THETA, "feed_forward_length": FF},
        changes=qkv_by_head("self_attention.query_key_value", 3, 2),
        outside=FALCON_OUTSIDE, layers="transformer.h",
    ),
    "mamba2": FamilyRecipe(
        "mamba2", "Mamba2ForCausalLM",
        {"num_heads": 6, "head_dim": 20, "n_groups": 3, "state_size": 11, "conv_kernel": 3, "expand": 2,
         "layer_norm_epsilon": 1e-5, "chunk_size": 16, "time_step_limit": (0.0, float("inf"))},
        {"norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.conv1d": "ssm_conv1d", "mixer.out_proj": "ssm_out"},
        {**RMS, "attention.head_count": 0, "feed_forward_length": 0, "ssm.conv_kernel": 3, "ssm.inner_size": 120,
         "ssm.state_size": 11, "ssm.time_step_rank": 6, "ssm.group_count": 3, "context_length": 1 << 20},
        changes={"mixer.conv1d.weight": squeezed("ssm_conv1d.weight"), "mixer.D": column("ssm_d"),
                 "mixer.A_log": lambda w: {"ssm_a": -np.exp(w)[:, None]}, "mixer.dt_bias": renamed("ssm_dt.bias"),
                 "mixer.norm.weight": lambda w: {"ssm_norm.weight": w.reshape(3, -1)}},
        outside={"backbone.embeddings": "token_embd", "backbone.norm_f": "output_norm"}, layers="backbone.layers",
    ),
    "falcon-mamba": FamilyRecipe(
        "mamba", "FalconMambaForCausalLM",
        {"state_size": 11, "conv_kernel": 3, "expand": 2, "time_step_rank": 7, "layer_norm_epsilon": 1e-5,
         "intermediate_size": 120, "tie_word_embeddings": True},
        {"norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.conv1d": "ssm_conv1d", "mixer.out_proj": "ssm_out",
         "mixer.x_proj": "ssm_x", "mixer.dt_proj": "ssm_dt"},
        {**RMS, "attention.head_count": 0, "feed_forward_length": 0, "ssm.conv_kernel": 3, "ssm.inner_size": 120,
         "ssm.state_size": 11, "ssm.time_step_rank": 7, "ssm.dt_b_c_rms": True, "context_length": 1 << 20},
        changes={"mixer.conv1d.weight": squeezed("ssm_conv1d.weight"), "mixer.D": renamed("ssm_d"),
                 "mixer.A_log": decay},
        outside={"backbone.embeddings": "token_embd", "backbone.norm_f": "output_norm"}, layers="backbone.layers",
    ),
    "qwen2vl": FamilyRecipe(
        "qwen2vl", "Qwen2ForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_sections": [2, 2, 1, 0], "tokenizer.ggml.pre": "qwen2"},
    ),
    "bailingmoe2": FamilyRecipe(
        "bailingmoe2", "Glm4MoeForCausalLM",
        {**OF_HIDDEN, "head_dim": 10, "moe_intermediate_size": 20, "n_routed_experts": 9, "num_experts_per_tok": 3,
         "n_group": 3, "topk_group": 2, "first_k_dense_replace": 1, "norm_topk_prob": True, "use_qk_norm": True,
         "routed_scaling_factor": 2.5, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.6}},
        {**ATTENTION, **HEAD_NORMS, **TWO_NORMS, **GATED, **EXPERTS, **SHARED},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "rope.dimension_count": 6, "expert_count": 9,
         "expert_group_count": 3, "expert_group_used_count": 2, "expert_gating_func": 2, "expert_weights_norm": True,
         "expert_weights_scale": 2.5, "expert_shared_count": 1, "expert_shared_feed_forward_length": 20,
         "leading_dense_block_count": 1},
        changes=CHOICE_BIAS, joined={"attn_qkv.weight": QKV["attn_qkv.weight"]},
    ),
    "exaone-moe": FamilyRecipe(
        "exaone-moe", "ExaoneMoeForCausalLM",
        {**HEADS, "num_hidden_layers": 5, "moe_intermediate_size": 20, "num_experts": 9, "num_experts_per_tok": 3,
         "num_shared_experts": 2, "n_group": 3, "topk_group": 2, "first_k_dense_replace": 1, "sliding_window": 11,
         "routed_scaling_factor": 1.7, "rope_parameters": ROPE},
        {**ATTENTION, **HEAD_NORMS, **TWO_NORMS, **GATED, **EXPERTS, **SHARED},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_count": 9,
         "expert_group_count": 3, "expert_group_used_count": 2, "expert_gating_func": 2, "expert_weights_norm": True,
         "expert_weights_scale": 1.7, "expert_shared_count": 2, "expert_shared_feed_forward_length": 40,
         "leading_dense_block_count": 1, "attention.sliding_window": 11, "rope.scaling.type": "none",
         "attention.sliding_window_pattern": [True, True, True, False, True], "nextn_predict_layers": 0},
        changes={"mlp.e_score_correction_bias": renamed("exp_probs_b.bias")},
    ),
    "afmoe": FamilyRecipe(
        "afmoe", "AfmoeForCausalLM",
        {**HEADS, "num_hidden_layers": 5, "moe_intermediate_size": 20, "num_experts": 7, "num_experts_per_tok": 3,
         "num_shared_experts": 2, "num_dense_layers": 2, "sliding_window": 11, "route_scale": 2.826,
         "mup_enabled": True, "rope_parameters": ROPE},
        {**ATTENTION, **HEAD_NORMS, **GATED, **EXPERTS, **SHARED, "mlp.router.gate": "ffn_gate_inp",
         "self_attn.gate_proj": "attn_gate", "input_layernorm": "attn_norm", "pre_mlp_layernorm": "ffn_norm",
         "post_attention_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm"},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "rope.dimension_count": 12, "vocab_size": VOCAB,
         "expert_shared_count": 2, "leading_dense_block_count": 2, "expert_weights_norm": True,
         "expert_weights_scale": 2.826, "expert_gating_func": 2, "attention.sliding_window": 11},
        changes={"mlp.expert_bias": renamed("exp_probs_b.bias")},
    ),
    "exaone": FamilyRecipe(
        "exaone", "LlamaForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 10},
    ),
    "chatglm": FamilyRecipe(
        "chatglm", "GlmForCausalLM",
        {**HEADS, "attention_bias": True, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}},
        {**ATTENTION, **TWO_NORMS, "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"},
        {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 6},
    ),
    "hunyuan-moe": FamilyRecipe(
        "hunyuan-moe", "HunYuanMoEV1ForCausalLM",
        {**HEADS, "num_experts": 7, "moe_topk": 3, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **EXPERTS, "mlp.gate.wg": "ffn_gate_inp",
         "self_attn.query_layernorm": "attn_q_norm", "self_attn.key_layernorm": "attn_k_norm",
         **{f"mlp.shared_mlp.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")}},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_feed_forward_length": FF,
         "expert_shared_feed_forward_length": FF, "expert_shared_count": 1},
    ),
    "gpt2": FamilyRecipe(
        "gpt2", "GPT2LMHeadModel",
        {"n_embd": HIDDEN, "n_head": 6, "n_inner": FF, "n_positions": CONTEXT, "tie_word_embeddings": True},
        GPT2, {"attention.head_count": 6, **LAYER},
        changes={f"{module}.weight": transposed(f"{name}.weight") for module, name in GPT2_MATRICES.items()},
        outside=GPT2_OUTSIDE, layers="transformer.h",
    ),
    "starcoder": FamilyRecipe(
        "starcoder", "GPTBigCodeForCausalLM",
        {"n_embd": HIDDEN, "n_head": 6, "n_inner": FF, "n_positions": CONTEXT, "tie_word_embeddings": True},
        GPT2, {"attention.head_count": 6, "attention.head_count_kv": 1, **LAYER},
        outside=GPT2_OUTSIDE, layers="transformer.h",
    ),
    "bloom": FamilyRecipe(
        "bloom", "BloomForCausalLM",
        {"n_head": 6, "seq_length": CONTEXT, "tie_word_embeddings": True},
        {**FALCON, **TWO_NORMS}, {"attention.head_count": 6, "attention.head_count_kv": 6, **LAYER,
                                  "feed_forward_length": 4 * HIDDEN},
        changes=qkv_by_head("self_attention.query_key_value", 6, 1),
        outside={"transformer.word_embeddings_layernorm": "token_embd_norm", **FALCON_OUTSIDE}, layers="transformer.h",
    ),
    "gptneox": FamilyRecipe(
        "gptneox", "GPTNeoXForCausalLM",
        {"num_attention_heads": 6, "layer_norm_eps": 1e-5, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.4}},
        GPTNEOX,
        {"attention.head_count": 6, **LAYER, **THETA, "rope.dimension_count": 4, "use_parallel_residual": True},
        changes=qkv_by_head("attention.query_key_value", 6, 1), outside=GPTNEOX_OUTSIDE, layers="gpt_neox.layers",
    ),
    "gptneox-sequential": FamilyRecipe(
        "gptneox", "GPTNeoXForCausalLM",
        {"num_attention_heads": 6, "layer_norm_eps": 1e-5, "use_parallel_residual": False,
         "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}},
        GPTNEOX,
        {"attention.head_count": 6, **LAYER, **THETA, "rope.dimension_count": 10, "use_parallel_residual": False},
        changes=qkv_by_head("attention.query_key_value", 6, 1), outside=GPTNEOX_OUTSIDE, layers="gpt_neox.layers",
    ),
    "mpt": FamilyRecipe(
        "mpt", "MptForCausalLM",
        {"d_model": HIDDEN, "n_heads": 6, "n_layers": 3, "expansion_ratio": 2, "max_seq_len": CONTEXT,
         "attn_config": {"clip_qkv": 0.75}, "tie_word_embeddings": True},
        {"norm_1": "attn_norm", "norm_2": "ffn_norm", "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output",
         "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down"},
        {"attention.head_count": 6, **LAYER, "feed_forward_length": 2 * HIDDEN, "attention.max_alibi_bias": 8.0,
         "attention.clamp_kqv": 0.75},
        outside={"transformer.wte": "token_embd", "transformer.norm_f": "output_norm"}, layers="transformer.blocks",
    ),
    "internlm2": FamilyRecipe(
        "internlm2", "LlamaForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **RMS, **THETA}, permuted=True,
    ),
    "xverse": FamilyRecipe(
        "xverse", "LlamaForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 10},
        permuted=True,
    ),
    "olmo": FamilyRecipe(
        "olmo", "OlmoForCausalLM", {**OF_HIDDEN, "clip_qkv": 0.6, "rope_parameters": ROPE},
        {**ATTENTION, **GATED}, {**OF_HIDDEN_KEYS, **LAYER, **THETA, "attention.clamp_kqv": 0.6}, permuted=True,
    ),
    "baichuan": FamilyRecipe(
        "baichuan", "LlamaForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 10},
        permuted=True,
    ),
    "orion": FamilyRecipe(
        "orion", "StableLmForCausalLM",
        {**OF_HIDDEN, "layer_norm_eps": 1e-5, "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **LAYER, **THETA},
    ),
    "codeshell": FamilyRecipe(
        "codeshell", "Starcoder2ForCausalLM",
        {**OF_HIDDEN, "norm_epsilon": 1e-5, "sliding_window": None, "use_bias": True,
         "hidden_act": "gelu_pytorch_tanh", "rope_parameters": ROPE},
        {**TWO_NORMS, "self_attn.o_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
        {**OF_HIDDEN_KEYS, **LAYER, **THETA, "rope.scaling.type": "linear", "rope.scaling.factor": 1.0},
        joined=QKV,
    ),
    "pangu-embedded": FamilyRecipe(
        "pangu-embedded", "LlamaForCausalLM",
        {**HEADS, "attention_bias": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 12},
    ),
    "maincoder": FamilyRecipe(
        "maincoder", "HunYuanDenseV1ForCausalLM", {**HEADS, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED},
        {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 12},
        changes={"self_attn.query_layernorm.weight": lambda w: {"attn_q_norm.weight": permuted(w, 1)},
                 "self_attn.key_layernorm.weight": lambda w: {"attn_k_norm.weight": permuted(w, 1)}},
        permuted=True,
    ),
    "qwen": FamilyRecipe(
        "qwen", "Qwen2ForCausalLM", {"num_attention_heads": 6, "num_key_value_heads": 6, "rope_parameters": ROPE},
        {**TWO_NORMS, **GATED, "self_attn.o_proj": "attn_output"},
        {"attention.head_count": 6, **RMS, **THETA, "feed_forward_length": 2 * FF, "rope.dimension_count": 10,
         "tokenizer.ggml.pre": "qwen2"},
        joined=QKV,
    ),
    "minicpm": FamilyRecipe(
        "minicpm", "GraniteForCausalLM",
        {**OF_HIDDEN, "embedding_multiplier": 12.0, "residual_multiplier": 1.4 / 3**0.5, "logits_scaling": 60 / 256,
         "attention_multiplier": 10**-0.5, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **RMS, **THETA}, permuted=True,
    ),
    "nemotron": FamilyRecipe(
        "nemotron", "NemotronForCausalLM",
        {**HEADS, "head_dim": 10, "hidden_act": "relu2", "mlp_bias": True, "attention_bias": True,
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.6}},
        {**ATTENTION, **TWO_NORMS, "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"},
        {**OF_HIDDEN_KEYS, **LAYER, **THETA, "rope.dimension_count": 6}, norms_plus_one=True,
    ),
    "falcon-h1": FALCON_H1,
    "falcon-h1-normed": replace(
        FALCON_H1,
        config={**FALCON_H1.config, "mamba_rms_norm": True, "mamba_norm_before_gate": False, "mlp_bias": True},
        changes={**FALCON_H1.changes, "mamba.norm.weight": lambda w: {"ssm_norm.weight": w.reshape(3, -1)}},
    ),
    "gemma3n": FamilyRecipe(
        "gemma3n", "Gemma3nForCausalLM",
        {**HEADS, "num_hidden_layers": 5, "intermediate_size": [92, 92, 76, 92, 92], "num_kv_shared_layers": 2,
         "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"], "sliding_window": 11,
         "activation_sparsity_pattern": [0.95, 0.0, 0.75, 0.0, 0.9], "hidden_size_per_layer_input": 14,
         "laurel_rank": 9, "vocab_size_per_layer_input": VOCAB, "tie_word_embeddings": True, "altup_active_idx": 2,
         "rope_parameters": {"full_attention": ROPE, "sliding_attention": {**ROPE, "rope_theta": 10000.0}}},
        {**ATTENTION, **HEAD_NORMS, **GATED, "input_layernorm": "attn_norm",
         "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
         "post_feedforward_layernorm": "post_ffw_norm", "per_layer_input_gate": "inp_gate",
         "per_layer_projection": "proj", "post_per_layer_input_norm": "post_norm",
         "altup.modality_router": "altup_router", "altup.router_norm": "altup_router_norm",
         "altup.prediction_coefs": "altup_predict_coef", "altup.correction_coefs": "altup_correct_coef",
         "laurel.linear_left": "laurel_l", "laurel.linear_right": "laurel_r",
         "laurel.post_laurel_norm": "laurel_post_norm"},
        {**HEAD_KEYS, **RMS, **THETA, "feed_forward_length": [92, 92, 76, 92, 92], "rope.freq_base_swa": 10000.0,
         "attention.sliding_window": 11, "attention.sliding_window_pattern": [True, False, True, False, True],
         "attention.shared_kv_layers": 2, "altup.active_idx": 2, "altup.num_inputs": 4,
         "embedding_length_per_layer_input": 14, "final_logit_softcapping": 30.0,
         "activation_sparsity_scale": [1.6448535919189453, float("-inf"), 0.6744897365570068, float("-inf"),
                                       1.2815515995025635]},
        changes={"altup.correct_output_scale": renamed("altup_correct_scale.weight")},
        outside={"model.embed_tokens_per_layer": "per_layer_token_embd",
                 "model.per_layer_model_projection": "per_layer_model_proj",
                 "model.per_layer_projection_norm": "per_layer_proj_norm",
                 **{f"model.altup_{one}projections.{s}": f"altup_{two}proj.{s}" for s in range(3)
                    for one, two in (("", ""), ("unembed_", "unembd_"))}},
    ),
    "llama4": FamilyRecipe(
        "llama4", "Llama4ForCausalLM",
        {**HEADS, "num_hidden_layers": 5, "intermediate_size": 20, "intermediate_size_mlp": FF, "num_local_experts": 7,
         "num_experts_per_tok": 3, "interleave_moe_layer_step": 2, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, "feed_forward.router": "ffn_gate_inp",
         **{f"feed_forward.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
         **{f"feed_forward.shared_expert.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")}},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "feed_forward_length": FF, "interleave_moe_layer_step": 2},
        changes={"feed_forward.experts.gate_up_proj": lambda w: halves("ffn_gate_exps.weight", "ffn_up_exps.weight")(
                     w.swapaxes(1, 2)),
                 "feed_forward.experts.down_proj": lambda w: {"ffn_down_exps.weight": w.swapaxes(1, 2)}},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class MadeFamily:
    """What was made: the GGUF, the tensors that its folder must hold, and the original itself.

    tensors: the original's as transformers saved them, with its multipliers in them where a file has them so.
    """

    gguf: Path
    tensors: Mapping[str, Array]
    model: Any


def build(name: str, folder: Path, recipe: FamilyRecipe | None = None) -> MadeFamily:
    """Makes the model of FAMILY_RECIPES[name], or of one of that name: its original and, as model.gguf, its GGUF."""
    import torch
    import transformers
    from safetensors.numpy import load_file

    recipe = recipe or FAMILY_RECIPES[name]
    model_class = getattr(transformers, recipe.class_name)
    common = {
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FF, "num_hidden_layers": 3,
        "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 257, "pad_token_id": None,
        "tie_word_embeddings": False, "rms_norm_eps": 1e-5, "norm_eps": 1e-5,
    }  # fmt: skip
    config_class = model_class.config_class
    config_class = getattr(config_class, "sub_configs", {}).get("text_config", config_class)
    torch.manual_seed(sum(name.encode()))
    model = model_class(config_class(**{**common, **recipe.config})).eval()
    with torch.no_grad():
        for tensor_name, tensor in model.state_dict().items():
            tensor.copy_(_weights(tensor_name, tensor.shape, recipe))
    model.save_pretrained(folder / "original")
    tensors = {
        name: next((fold(w) for end, fold in recipe.folded.items() if name.endswith(end)), w)
        for name, w in load_file(folder / "original" / "model.safetensors").items()
    }
    _write(folder / "model.gguf", recipe, model.config, tensors)
    return MadeFamily(folder / "model.gguf", tensors, model)


def _weights(name: str, shape: tuple[int, ...], recipe: FamilyRecipe) -> Any:
    """Random bfloat16 values away from zero: norms and scales around 1, all others around 0."""
    import torch

    random = torch.rand(shape) * 0.4 + 0.05
    signs = torch.where(torch.rand(shape) < 0.5, -1.0, 1.0)
    plain = not recipe.norms_plus_one or name.endswith("linear_attn.norm.weight")
    around_one = ("norm" in name and name.endswith("weight") and plain) or "scal" in name
    return (1 + signs * random if around_one else signs * random).bfloat16().float()


def _write(path: Path, recipe: FamilyRecipe, config: Any, tensors: Mapping[str, Array]) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, recipe.gguf)
    keys: dict[str, Value] = {
        "context_length": CONTEXT, "embedding_length": HIDDEN, "block_count": config.num_hidden_layers,
        "feed_forward_length": getattr(config, "intermediate_size", FF), **recipe.keys,
    }  # fmt: skip
    whole = {key: value for key, value in keys.items() if key.startswith(("general.", "tokenizer."))}
    own = {f"{recipe.gguf}.{key}": value for key, value in keys.items() if key not in whole}
    for key, value in {**own, **tokenizer_keys(), **whole}.items():
        _add(writer, key, value)
    written = _forward(recipe, config, tensors)
    if "rope_freqs" in recipe.outside:  # a fifth of ten pairs turns
        written["rope_freqs.weight"] = np.array([1.0] * 2 + [1e30] * 8, np.float32)
    for whole_name in ("altup_proj", "altup_unembd_proj"):  # conversion/gemma.py: one tensor for the three
        if f"{whole_name}.0.weight" in written:
            parts = [written.pop(f"{whole_name}.{s}.weight") for s in range(3)]
            written[f"{whole_name}.weight"] = np.stack(parts)
    for name, tensor in written.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _forward(recipe: FamilyRecipe, config: Any, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Transformers' tensors → GGUF's."""
    outside = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        **recipe.outside,
    }
    written: dict[str, Array] = {}
    stacks: dict[str, dict[int, Array]] = {}
    parts = {part: (ours, place) for ours, of in recipe.joined.items() for place, part in enumerate(of)}
    joins: dict[str, dict[int, Array]] = {}
    for name, tensor in tensors.items():
        plus_one = recipe.norms_plus_one and name.endswith("norm.weight") and "linear_attn" not in name
        weights = tensor + np.float32(1) if plus_one else tensor
        module, _, kind = name.rpartition(".")
        if module in outside:
            written[f"{outside[module]}.{kind}"] = weights
            continue
        found = re.fullmatch(rf"{re.escape(recipe.layers)}\.(\d+)\.(.*)", name)
        assert found is not None, name
        prefix, whole = f"blk.{found[1]}.", found[2]
        if whole in recipe.changes:
            written |= {f"{prefix}{ours}": w for ours, w in recipe.changes[whole](weights).items()}
            continue
        if whole in parts:
            ours, number = parts[whole]
            joins.setdefault(f"{prefix}{ours}", {})[number] = weights
            continue
        place = whole.removesuffix(f".{kind}")
        expert = re.search(r"\.experts\.(\d+)", place)
        ours = recipe.names[place if expert is None else place.replace(f".{expert[1]}", ".{e}", 1)]
        if recipe.permuted and ours in ("attn_q", "attn_k"):
            heads = config.num_attention_heads if ours == "attn_q" else config.num_key_value_heads
            weights = permuted(weights, heads)
        if expert is None:
            written[f"{prefix}{ours}.{kind}"] = weights
        else:
            stacks.setdefault(f"{prefix}{ours}.{kind}", {})[int(expert[1])] = weights
    written |= {name: np.concatenate([join[part] for part in sorted(join)]) for name, join in joins.items()}
    return written | {name: np.stack([stack[e] for e in range(len(stack))]) for name, stack in stacks.items()}
