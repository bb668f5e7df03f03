"""Recipes of families whose other tiny models, of the test data and from_transformers, have sizes of powers of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tests.models.family_recipe import (
    ATTENTION,
    CHOICE_BIAS,
    EXPERTS,
    FALCON,
    FALCON_OUTSIDE,
    FF,
    FUSED,
    GATED,
    HEAD_KEYS,
    HEAD_NORMS,
    HEADS,
    HIDDEN,
    LATENT,
    LATENT_CONFIG,
    LATENT_KEYS,
    LAYER,
    MIXTURE_KEYS,
    OF_HIDDEN,
    OF_HIDDEN_KEYS,
    POST_NORM,
    RMS,
    ROPE,
    SHARED,
    THETA,
    TWO_NORMS,
    Change,
    FamilyRecipe,
    column,
    decay,
    halves,
    latent,
    qkv_by_head,
    renamed,
    squeezed,
    tiled,
    tiled_decay,
)
from tests.models.from_transformers import Array
from tests.models.vocabularies import VOCAB, Value

UNGATED = {f"mlp.{one}_proj": f"ffn_{one}" for one in ("up", "down")}
POST_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
FOUR_NORMS = {**POST_NORMS, "input_layernorm": "attn_norm", "pre_feedforward_layernorm": "ffn_norm"}
SHARED_EXPERT = {f"mlp.shared_expert.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")}
W_EXPERTS = {
    "block_sparse_moe.gate": "ffn_gate_inp",
    **{
        f"block_sparse_moe.experts.{{e}}.w{n}": f"ffn_{x}_exps"
        for n, x in enumerate(("gate", "down", "up"), 1)
    },
}
QWEN_PRE: Mapping[str, Value] = {"tokenizer.ggml.pre": "qwen2"}
EXPERT_CONFIG = {"num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 20}
ROUTED_CONFIG = {"n_routed_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 20}
LOCAL_CONFIG = {"num_local_experts": 7, "num_experts_per_tok": 3, "intermediate_size": 20}
YARN = {**ROPE, "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "mscale": 1.0,
        "mscale_all_dim": 1.0, "beta_fast": 32.0, "beta_slow": 1.0}  # fmt: skip
YARN_KEYS: Mapping[str, Value] = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 32,
    "rope.scaling.yarn_beta_fast": 32.0, "rope.scaling.yarn_beta_slow": 1.0,
}  # fmt: skip
TWO_BASES = {"full_attention": ROPE, "sliding_attention": {**ROPE, "rope_theta": 10000.0}}

MAMBA2_KEYS: Mapping[str, Value] = {
    "ssm.conv_kernel": 3, "ssm.inner_size": 120, "ssm.state_size": 11, "ssm.time_step_rank": 6, "ssm.group_count": 3,
}  # fmt: skip
GRANITE_HYBRID = {
    "num_hidden_layers": 4, "layer_types": ["mamba", "attention", "mamba", "mamba"], "mamba_n_heads": 6,
    "mamba_d_head": 20, "mamba_n_groups": 3, "mamba_d_state": 11, "mamba_d_conv": 3, "mamba_expand": 2,
    "mamba_chunk_size": 16, "shared_intermediate_size": 28, "attention_multiplier": 0.2, "embedding_multiplier": 3.3,
    "residual_multiplier": 0.7, "logits_scaling": 1.7, "position_embedding_type": "nope", "rope_parameters": ROPE,
}  # fmt: skip
GRANITE_HYBRID_KEYS: Mapping[str, Value] = {
    **RMS, **THETA, **MAMBA2_KEYS, "attention.head_count": 6, "attention.head_count_kv": [0, 3, 0, 0],
    "attention.scale": 0.2, "embedding_scale": 3.3, "residual_scale": 0.7, "logit_scale": 1.7,
    "rope.dimension_count": 10, "rope.scaling.finetuned": False, "context_length": 1 << 20,
}  # fmt: skip
GRANITE_HYBRID_NAMES = {**ATTENTION, **TWO_NORMS, "mamba.in_proj": "ssm_in", "mamba.out_proj": "ssm_out"}
NEMOTRON_H = {
    **HEADS, "mamba_num_heads": 6, "mamba_head_dim": 20, "n_groups": 3, "ssm_state_size": 11, "conv_kernel": 3,
    "expand": 2, "chunk_size": 16, "layer_norm_epsilon": 1e-5,
}  # fmt: skip
NEMOTRON_H_KEYS: Mapping[str, Value] = {
    **MAMBA2_KEYS, "attention.head_count": 6, "attention.head_count_kv": [0, 0, 3, 0], "attention.key_length": 12,
    "attention.value_length": 12, "attention.layer_norm_epsilon": 1e-5, "rope.scaling.finetuned": False,
    "rope.dimension_count": 10, "context_length": 1 << 20,
}  # fmt: skip
NEMOTRON_H_NAMES = {
    "norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.out_proj": "ssm_out", "mixer.up_proj": "ffn_up",
    "mixer.down_proj": "ffn_down", **{name.replace("self_attn", "mixer"): ours for name, ours in ATTENTION.items()},
}  # fmt: skip
BACKBONE = {"backbone.embeddings": "token_embd", "backbone.norm_f": "output_norm"}
QWEN35 = {
    "num_hidden_layers": 4, "linear_num_key_heads": 3, "linear_num_value_heads": 6, "linear_key_head_dim": 10,
    "linear_value_head_dim": 10, "linear_conv_kernel_dim": 3,
    "layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"],
}  # fmt: skip
QWEN35_KEYS: Mapping[str, Value] = {
    **HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 6, "ssm.conv_kernel": 3, "ssm.state_size": 10,
    "ssm.group_count": 3, "ssm.time_step_rank": 6, "ssm.inner_size": 60,
    "attention.recurrent_layers": [True, True, False, True],
}  # fmt: skip


def mamba2(below: str, groups: int) -> dict[str, Change]:
    """conversion/mamba.py: what is not one product of a Mamba 2 mixer."""
    return {
        f"{below}.conv1d.weight": squeezed("ssm_conv1d.weight"),
        f"{below}.conv1d.bias": renamed("ssm_conv1d.bias"),
        f"{below}.A_log": lambda w: {"ssm_a": -np.exp(w)[:, None]},
        f"{below}.D": column("ssm_d"),
        f"{below}.dt_bias": renamed("ssm_dt.bias"),
        f"{below}.norm.weight": lambda w: {"ssm_norm.weight": w.reshape(groups, -1)},
    }


def by_layer(name: str) -> Callable[[Mapping[str, Array]], Value]:
    """A key with a number of every layer, which the original has as a tensor of one."""
    return lambda tensors: [
        float(tensors[f"model.layers.{i}.{name}"].reshape(-1)[0])
        for i in range(sum(tensor.endswith(name) for tensor in tensors))
    ]


def in_turns(end: str) -> Change:
    """conversion/gpt_oss.py: gate and up of every expert, one between the other, (in, out) → apart, (out, in)."""
    return lambda w: {
        f"ffn_{x}_exps.{end}": w[..., start::2].swapaxes(1, 2) if w.ndim == 3 else w[..., start::2]
        for start, x in enumerate(("gate", "up"))
    }


def by_key_head(heads: int, key: int, value: int) -> Change:
    """conversion/qwen.py: each key head's q, k, v and z → all q, all k and all v; all z."""

    def change(w: Array) -> Mapping[str, Array]:
        each = w.reshape(heads, -1, w.shape[-1])
        parts = np.split(each, np.cumsum([key, key, value]), axis=1)
        q, k, v, z = (part.reshape(-1, w.shape[-1]) for part in parts)
        return {"attn_qkv.weight": np.concatenate([q, k, v]), "attn_gate.weight": z}

    return change


DENSE: Mapping[str, FamilyRecipe] = {
    "llama": FamilyRecipe(
        "llama", "LlamaForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 10},
        permuted=True,
    ),
    "llama-mistral": FamilyRecipe(
        "llama", "MistralForCausalLM", {**HEADS, "sliding_window": 11, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED},
        {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 12, "attention.sliding_window": 11}, permuted=True,
    ),
    "llama-qwen2": FamilyRecipe(
        "llama", "Qwen2ForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 10, **QWEN_PRE}, permuted=True,
    ),
    "mistral3": FamilyRecipe(
        "mistral3", "MistralForCausalLM", {**HEADS, "sliding_window": None, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 12},
        permuted=True,
    ),
    "ministral3": FamilyRecipe(
        "mistral3", "Ministral3ForCausalLM",
        {**HEADS, "sliding_window": None,
         "rope_parameters": {**YARN, "llama_4_scaling_beta": 0.1, "max_position_embeddings": 256}},
        {**ATTENTION, **TWO_NORMS, **GATED},
        {**HEAD_KEYS, **RMS, **THETA, **YARN_KEYS, "rope.dimension_count": 12,
         "rope.scaling.yarn_log_multiplier": 1.0, "attention.temperature_scale": 0.1},
        permuted=True,
    ),
    "qwen2": FamilyRecipe(
        "qwen2", "Qwen2ForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE}, {**ATTENTION, **TWO_NORMS, **GATED},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, **QWEN_PRE},
    ),
    "qwen3": FamilyRecipe(
        "qwen3", "Qwen3ForCausalLM", {**HEADS, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED, **HEAD_NORMS}, {**HEAD_KEYS, **RMS, **THETA, **QWEN_PRE},
    ),
    "qwen3vl": FamilyRecipe(
        "qwen3vl", "Qwen3ForCausalLM", {**HEADS, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED, **HEAD_NORMS},
        {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_sections": [2, 2, 2, 0], "n_deepstack_layers": 1, **QWEN_PRE},
    ),
    "gemma": FamilyRecipe(
        "gemma", "GemmaForCausalLM", {**HEADS, "tie_word_embeddings": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**HEAD_KEYS, **RMS, **THETA}, norms_plus_one=True,
    ),
    "gemma2": FamilyRecipe(
        "gemma2", "Gemma2ForCausalLM",
        {**HEADS, "query_pre_attn_scalar": 12, "sliding_window": 11, "attn_logit_softcapping": 37.0,
         "final_logit_softcapping": 23.0, "tie_word_embeddings": True, "rope_parameters": ROPE},
        {**ATTENTION, **GATED, **FOUR_NORMS},
        {**HEAD_KEYS, **RMS, **THETA, "attention.sliding_window": 11, "attn_logit_softcapping": 37.0,
         "final_logit_softcapping": 23.0},
        norms_plus_one=True,
    ),
    "gemma3": FamilyRecipe(
        "gemma3", "Gemma3ForCausalLM",
        {**HEADS, "query_pre_attn_scalar": 12, "num_hidden_layers": 7, "sliding_window": 11,
         "layer_types": [*["sliding_attention"] * 5, "full_attention", "sliding_attention"],
         "tie_word_embeddings": True, "rope_parameters": TWO_BASES},
        {**ATTENTION, **GATED, **FOUR_NORMS, **HEAD_NORMS},
        {**HEAD_KEYS, **RMS, **THETA, "attention.sliding_window": 11, "rope.freq_base_swa": 10000.0},
        norms_plus_one=True,
    ),
    "granite": FamilyRecipe(
        "granite", "GraniteForCausalLM",
        {**OF_HIDDEN, "attention_multiplier": 0.2, "embedding_multiplier": 3.3, "residual_multiplier": 0.7,
         "logits_scaling": 1.7, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "attention.scale": 0.2, "embedding_scale": 3.3, "residual_scale": 0.7,
         "logit_scale": 1.7, "rope.dimension_count": 10},
        permuted=True,
    ),
    "command-r": FamilyRecipe(
        "command-r", "CohereForCausalLM",
        {**OF_HIDDEN, "layer_norm_eps": 1e-5, "logit_scale": 0.37, "tie_word_embeddings": True,
         "rope_parameters": ROPE},
        {**ATTENTION, **GATED, "input_layernorm": "attn_norm"},
        {**OF_HIDDEN_KEYS, **LAYER, **THETA, "logit_scale": 0.37, "rope.scaling.type": "none"},
    ),
    "olmo2": FamilyRecipe(
        "olmo2", "Olmo2ForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **GATED, **HEAD_NORMS, **POST_NORMS}, {**OF_HIDDEN_KEYS, **RMS, **THETA},
    ),
    "olmo3": FamilyRecipe(
        "olmo2", "Olmo3ForCausalLM",
        {**OF_HIDDEN, "num_hidden_layers": 5, "sliding_window": 11,
         "rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
        {**ATTENTION, **GATED, **HEAD_NORMS, **POST_NORMS},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "attention.sliding_window": 11},
    ),
    "phi2": FamilyRecipe(
        "phi2", "PhiForCausalLM",
        {"num_attention_heads": 6, "num_key_value_heads": 6, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new",
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.4}},
        {**{name.replace("o_proj", "dense"): ours for name, ours in ATTENTION.items()},
         "input_layernorm": "attn_norm", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"},
        {"attention.head_count": 6, "attention.head_count_kv": 6, **LAYER, **THETA, "rope.dimension_count": 4},
        outside={"model.final_layernorm": "output_norm"},
    ),
    "phi3": FamilyRecipe(
        "phi3", "Phi3ForCausalLM",
        {**OF_HIDDEN, "sliding_window": 11, "original_max_position_embeddings": 256,
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.6}},
        {**TWO_NORMS, "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
         "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 6, "attention.sliding_window": 11},
    ),
    "smollm3": FamilyRecipe(
        "smollm3", "SmolLM3ForCausalLM",
        {**OF_HIDDEN, "num_hidden_layers": 5, "tie_word_embeddings": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 10},
        permuted=True,
    ),
    "stablelm": FamilyRecipe(
        "stablelm", "StableLmForCausalLM",
        {**OF_HIDDEN, "layer_norm_eps": 1e-5, "use_qkv_bias": True,
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.4}},
        {**ATTENTION, **TWO_NORMS, **GATED},
        {**OF_HIDDEN_KEYS, **LAYER, **THETA, "rope.dimension_count": 4, "use_parallel_residual": True},
    ),
    "starcoder2": FamilyRecipe(
        "starcoder2", "Starcoder2ForCausalLM",
        {**OF_HIDDEN, "norm_epsilon": 1e-5, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True,
         "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
        {**OF_HIDDEN_KEYS, **LAYER, **THETA},
    ),
    "apertus": FamilyRecipe(
        "apertus", "ApertusForCausalLM", {**OF_HIDDEN, "rope_parameters": ROPE},
        {**ATTENTION, **HEAD_NORMS, **UNGATED, "attention_layernorm": "attn_norm", "feedforward_layernorm": "ffn_norm"},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "rope.dimension_count": 10,
         **{f"xielu.{x}": by_layer(f"mlp.act_fn.{x}") for x in ("alpha_n", "alpha_p", "beta", "eps")}},
        changes={f"mlp.act_fn.{x}": lambda _: {} for x in ("alpha_n", "alpha_p", "beta", "eps")},
    ),
    "falcon-40b": FamilyRecipe(
        "falcon", "FalconForCausalLM",
        {"num_attention_heads": 6, "num_kv_heads": 3, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 2,
         "ffn_hidden_size": FF, "rope_parameters": ROPE},
        {**FALCON, "ln_attn": "attn_norm_2", "ln_mlp": "attn_norm"},
        {**OF_HIDDEN_KEYS, **LAYER, **THETA, "feed_forward_length": FF},
        changes=qkv_by_head("self_attention.query_key_value", 3, 2),
        outside=FALCON_OUTSIDE, layers="transformer.h",
    ),
    "gemma4-e": FamilyRecipe(
        "gemma4", "Gemma4ForCausalLM",
        {**HEADS, "num_hidden_layers": 6, "per_layer_config": {layer: {"head_dim": 20} for layer in "135"},
         "hidden_size_per_layer_input": 14, "vocab_size_per_layer_input": VOCAB, "sliding_window": 11,
         "num_kv_shared_layers": 2, "use_double_wide_mlp": True, "final_logit_softcapping": 23.0,
         "layer_types": ["sliding_attention", "full_attention"] * 3,
         "tie_word_embeddings": True,
         "rope_parameters": {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.2,
                                                "rope_theta": 50000.0},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
        {**ATTENTION, **HEAD_NORMS, **GATED, **FOUR_NORMS, "per_layer_input_gate": "inp_gate",
         "per_layer_projection": "proj", "post_per_layer_input_norm": "post_norm"},
        {**RMS, **THETA, "attention.head_count": 6, "attention.head_count_kv": 3, "attention.key_length": 20,
         "attention.value_length": 20, "attention.key_length_swa": 12, "attention.value_length_swa": 12,
         "rope.dimension_count": 20, "rope.dimension_count_swa": 12, "rope.freq_base_swa": 10000.0,
         "attention.sliding_window": 11, "attention.sliding_window_pattern": [True, False] * 3,
         "attention.shared_kv_layers": 2, "embedding_length_per_layer_input": 14, "final_logit_softcapping": 23.0,
         "feed_forward_length": [*[FF] * 4, 2 * FF, 2 * FF]},
        changes={"layer_scalar": renamed("layer_output_scale.weight")},
        tables={"rope_freqs.weight": [1.0] * 2 + [1e30] * 8},
        outside={"model.embed_tokens_per_layer": "per_layer_token_embd",
                 "model.per_layer_model_projection": "per_layer_model_proj",
                 "model.per_layer_projection_norm": "per_layer_proj_norm"},
    ),
    "arcee": FamilyRecipe(
        "arcee", "ArceeForCausalLM", {**HEADS, "rope_parameters": ROPE}, {**ATTENTION, **TWO_NORMS, **UNGATED},
        {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 12}, permuted=True,
    ),
    "ernie4_5": FamilyRecipe(
        "ernie4_5", "Ernie4_5ForCausalLM", {**HEADS, "tie_word_embeddings": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **GATED}, {**HEAD_KEYS, **RMS, **THETA},
    ),
    "exaone4": FamilyRecipe(
        "exaone4", "Exaone4ForCausalLM",
        {**OF_HIDDEN, "num_hidden_layers": 5, "sliding_window": 11, "sliding_window_pattern": 4,
         "layer_types": [*["sliding_attention"] * 3, "full_attention", "sliding_attention"], "rope_parameters": ROPE},
        {**ATTENTION, **GATED, **HEAD_NORMS, **POST_NORMS},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "attention.sliding_window": 11,
         "attention.sliding_window_pattern": [True, True, True, False, True]},
    ),
    "glm4": FamilyRecipe(
        "glm4", "Glm4ForCausalLM",
        {**HEADS, "attention_bias": True, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}},
        {**ATTENTION, "input_layernorm": "attn_norm", "post_self_attn_layernorm": "post_attention_norm",
         "post_attention_layernorm": "ffn_norm", "post_mlp_layernorm": "post_ffw_norm",
         "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"},
        {**HEAD_KEYS, **RMS, **THETA, "rope.dimension_count": 6},
    ),
    "seed_oss": FamilyRecipe(
        "seed_oss", "SeedOssForCausalLM",
        {**HEADS, "attention_bias": True, "attention_out_bias": False, "rope_parameters": ROPE},
        {**ATTENTION, **POST_NORM, **GATED}, {**HEAD_KEYS, **RMS, **THETA},
    ),
}  # fmt: skip

MIXTURES: Mapping[str, FamilyRecipe] = {
    "mixtral": FamilyRecipe(
        "llama", "MixtralForCausalLM", {**OF_HIDDEN, **LOCAL_CONFIG, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **W_EXPERTS},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, "expert_count": 7, "expert_used_count": 3, "rope.dimension_count": 10},
        permuted=True,
    ),
    "qwen2moe": FamilyRecipe(
        "qwen2moe", "Qwen2MoeForCausalLM",
        {**OF_HIDDEN, **EXPERT_CONFIG, "shared_expert_intermediate_size": 28, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **EXPERTS, **SHARED_EXPERT, "mlp.shared_expert_gate": "ffn_gate_inp_shexp"},
        {**OF_HIDDEN_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_shared_feed_forward_length": 28, **QWEN_PRE},
    ),
    "qwen3moe": FamilyRecipe(
        "qwen3moe", "Qwen3MoeForCausalLM",
        {**HEADS, **EXPERT_CONFIG, "norm_topk_prob": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **HEAD_NORMS, **EXPERTS},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, **QWEN_PRE},
    ),
    "qwen3vlmoe": FamilyRecipe(
        "qwen3vlmoe", "Qwen3MoeForCausalLM",
        {**HEADS, **EXPERT_CONFIG, "norm_topk_prob": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **HEAD_NORMS, **EXPERTS},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "rope.dimension_sections": [2, 2, 2, 0], **QWEN_PRE},
    ),
    "olmoe": FamilyRecipe(
        "olmoe", "OlmoeForCausalLM",
        {**OF_HIDDEN, **EXPERT_CONFIG, "num_key_value_heads": 6, "intermediate_size": 20, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **HEAD_NORMS, **EXPERTS},
        {"attention.head_count": 6, "attention.head_count_kv": 6, **RMS, **THETA, "expert_count": 7,
         "expert_used_count": 3},
    ),
    "minimax-m2": FamilyRecipe(
        "minimax-m2", "MiniMaxM2ForCausalLM",
        {**HEADS, **LOCAL_CONFIG, "rotary_dim": 6, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}},
        {**ATTENTION, **TWO_NORMS, **HEAD_NORMS, **W_EXPERTS},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_gating_func": 2, "rope.dimension_count": 6},
        changes={"block_sparse_moe.e_score_correction_bias": renamed("exp_probs_b.bias")},
    ),
    "glm4moe": FamilyRecipe(
        "glm4moe", "Glm4MoeForCausalLM",
        {**HEADS, **ROUTED_CONFIG, "n_shared_experts": 2, "first_k_dense_replace": 1, "attention_bias": True,
         "use_qk_norm": True, "norm_topk_prob": True, "routed_scaling_factor": 1.7,
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}},
        {**ATTENTION, **HEAD_NORMS, **POST_NORM, **GATED, **EXPERTS, **SHARED},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_shared_count": 2, "leading_dense_block_count": 1,
         "expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 1.7,
         "rope.dimension_count": 6},
        changes=CHOICE_BIAS,
    ),
    "gpt-oss": FamilyRecipe(
        "gpt-oss", "GptOssForCausalLM",
        {**HEADS, **LOCAL_CONFIG, "sliding_window": 11,
         "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "rope_parameters": ROPE},
        {**ATTENTION, **POST_NORM, "mlp.router": "ffn_gate_inp"},
        {**HEAD_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "attention.sliding_window": 11},
        changes={"mlp.experts.gate_up_proj": in_turns("weight"), "mlp.experts.gate_up_proj_bias": in_turns("bias"),
                 "mlp.experts.down_proj": lambda w: {"ffn_down_exps.weight": w.swapaxes(1, 2)},
                 "mlp.experts.down_proj_bias": renamed("ffn_down_exps.bias"),
                 "self_attn.sinks": renamed("attn_sinks.weight")},
    ),
    "deepseek3": FamilyRecipe(
        "deepseek2", "DeepseekV3ForCausalLM",
        {**LATENT_CONFIG, "n_routed_experts": 9, "n_group": 3, "topk_group": 2, "n_shared_experts": 1,
         "first_k_dense_replace": 1, "q_lora_rank": 22, "routed_scaling_factor": 1.8, "norm_topk_prob": True,
         "rope_parameters": ROPE},
        LATENT,
        {**LATENT_KEYS, **RMS, **THETA, **MIXTURE_KEYS, "expert_count": 9, "attention.q_lora_rank": 22,
         "expert_group_count": 3, "expert_group_used_count": 2, "expert_shared_count": 1,
         "expert_weights_scale": 1.8, "expert_weights_norm": True, "expert_gating_func": 2},
        changes={"self_attn.kv_b_proj.weight": latent(5, 12), **CHOICE_BIAS},
    ),
    "mistral4": FamilyRecipe(
        "mistral4", "Mistral4ForCausalLM",
        {**LATENT_CONFIG, "n_shared_experts": 1, "first_k_dense_replace": 0, "q_lora_rank": 22, "n_group": 1,
         "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.0,
         "rope_parameters": {**YARN, "llama_4_scaling_beta": 0.1, "partial_rotary_factor": 6 / 18,
                             "max_position_embeddings": 256}},
        LATENT,
        {**LATENT_KEYS, **RMS, **THETA, **MIXTURE_KEYS, **YARN_KEYS, "leading_dense_block_count": 0,
         "attention.q_lora_rank": 22, "expert_group_count": 1, "expert_group_used_count": 1,
         "expert_shared_count": 1, "expert_weights_scale": 1.0, "expert_weights_norm": True,
         "rope.scaling.yarn_log_multiplier": 0.1},
        changes={"self_attn.kv_b_proj.weight": latent(5, 12),
                 "mlp.experts.gate_up_proj": renamed("ffn_gate_up_exps.weight"),
                 "mlp.experts.down_proj": renamed("ffn_down_exps.weight")},
    ),
}  # fmt: skip

RECURRENT: Mapping[str, FamilyRecipe] = {
    "granitehybrid": FamilyRecipe(
        "granitehybrid", "GraniteMoeHybridForCausalLM",
        {**OF_HIDDEN, **GRANITE_HYBRID, "num_local_experts": 0, "num_experts_per_tok": 0}, GRANITE_HYBRID_NAMES,
        {**GRANITE_HYBRID_KEYS, "feed_forward_length": 28},
        changes={**mamba2("mamba", 3), "shared_mlp.output_linear.weight": renamed("ffn_down.weight"),
                 "shared_mlp.input_linear.weight": halves("ffn_gate.weight", "ffn_up.weight")},
        permuted=True,
    ),
    "granitehybrid-moe": FamilyRecipe(
        "granitehybrid", "GraniteMoeHybridForCausalLM", {**OF_HIDDEN, **GRANITE_HYBRID, **LOCAL_CONFIG},
        {**GRANITE_HYBRID_NAMES, "block_sparse_moe.router.layer": "ffn_gate_inp"},
        {**GRANITE_HYBRID_KEYS, "expert_count": 7, "expert_used_count": 3, "expert_shared_feed_forward_length": 28},
        changes={**mamba2("mamba", 3), **FUSED, "shared_mlp.output_linear.weight": renamed("ffn_down_shexp.weight"),
                 "shared_mlp.input_linear.weight": halves("ffn_gate_shexp.weight", "ffn_up_shexp.weight")},
        permuted=True,
    ),
    "nemotron_h": FamilyRecipe(
        "nemotron_h", "NemotronHForCausalLM",
        {**NEMOTRON_H, "layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"]}, NEMOTRON_H_NAMES,
        {**NEMOTRON_H_KEYS, "feed_forward_length": [0, FF, 0, FF]},
        outside=BACKBONE, layers="backbone.layers", changes=mamba2("mixer", 3), permuted=True,
    ),
    "nemotron_h_moe": FamilyRecipe(
        "nemotron_h_moe", "NemotronHForCausalLM",
        {**NEMOTRON_H, **ROUTED_CONFIG, "layers_block_type": ["linear_attention", "moe", "full_attention", "moe"],
         "moe_shared_expert_intermediate_size": 28, "n_shared_experts": 1, "routed_scaling_factor": 1.7,
         "norm_topk_prob": True, "n_group": 1, "topk_group": 1},
        {**NEMOTRON_H_NAMES, "mixer.gate": "ffn_gate_inp",
         **{f"mixer.experts.{{e}}.{x}_proj": f"ffn_{x}_exps" for x in ("up", "down")},
         **{f"mixer.shared_experts.{x}_proj": f"ffn_{x}_shexp" for x in ("up", "down")}},
        {**NEMOTRON_H_KEYS, **MIXTURE_KEYS, "feed_forward_length": [0, 20, 0, 20], "expert_shared_count": 1,
         "expert_shared_feed_forward_length": 28, "expert_weights_norm": True, "expert_weights_scale": 1.7,
         "expert_group_count": 1, "expert_group_used_count": 1},
        outside=BACKBONE, layers="backbone.layers", permuted=True,
        changes={**mamba2("mixer", 3), "mixer.gate.e_score_correction_bias": renamed("exp_probs_b.bias")},
    ),
    "mamba": FamilyRecipe(
        "mamba", "MambaForCausalLM",
        {"state_size": 11, "conv_kernel": 3, "expand": 2, "time_step_rank": 7, "layer_norm_epsilon": 1e-5,
         "intermediate_size": 2 * HIDDEN, "tie_word_embeddings": True},
        {"norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.conv1d": "ssm_conv1d", "mixer.out_proj": "ssm_out",
         "mixer.x_proj": "ssm_x", "mixer.dt_proj": "ssm_dt"},
        {**RMS, "attention.head_count": 0, "feed_forward_length": 0, "ssm.conv_kernel": 3,
         "ssm.inner_size": 2 * HIDDEN, "ssm.state_size": 11, "ssm.time_step_rank": 7, "context_length": 1 << 20},
        changes={"mixer.conv1d.weight": squeezed("ssm_conv1d.weight"), "mixer.D": renamed("ssm_d"),
                 "mixer.A_log": decay},
        outside=BACKBONE, layers="backbone.layers",
    ),
    "lfm2": FamilyRecipe(
        "lfm2", "Lfm2ForCausalLM",
        {**OF_HIDDEN, "num_hidden_layers": 4, "conv_L_cache": 3, "block_auto_adjust_ff_dim": False,
         "layer_types": ["conv", "conv", "full_attention", "conv"], "tie_word_embeddings": True,
         "rope_parameters": ROPE},
        {"operator_norm": "attn_norm", "ffn_norm": "ffn_norm",
         **{name.replace("o_proj", "out_proj"): ours for name, ours in ATTENTION.items()},
         "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm",
         "conv.in_proj": "shortconv.in_proj", "conv.out_proj": "shortconv.out_proj",
         "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down"},
        {**RMS, **THETA, "attention.head_count": 6, "attention.head_count_kv": [0, 0, 3, 0], "shortconv.l_cache": 3},
        outside={"model.embedding_norm": "token_embd_norm"},
        changes={"conv.conv.weight": squeezed("shortconv.conv.weight")},
    ),
    "qwen35": FamilyRecipe(
        "qwen35", "Qwen3_5ForCausalLM",
        {**HEADS, **QWEN35, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 1],
                                                "mrope_interleaved": True}},
        {**POST_NORM, **ATTENTION, **HEAD_NORMS, **GATED, "linear_attn.norm": "ssm_norm"},
        {**QWEN35_KEYS, "rope.dimension_sections": [1, 1, 1, 0], "tokenizer.ggml.pre": "qwen35"},
        changes={"linear_attn.A_log": tiled_decay(3), "linear_attn.dt_bias": tiled("ssm_dt.bias", 3, 1),
                 "linear_attn.conv1d.weight": tiled("ssm_conv1d.weight", 3, 10, 60),
                 "linear_attn.in_proj_qkv.weight": tiled("attn_qkv.weight", 3, 10, 60),
                 "linear_attn.in_proj_z.weight": tiled("attn_gate.weight", 3, 10),
                 "linear_attn.in_proj_a.weight": tiled("ssm_alpha.weight", 3, 1),
                 "linear_attn.in_proj_b.weight": tiled("ssm_beta.weight", 3, 1),
                 "linear_attn.out_proj.weight": tiled("ssm_out.weight", 3, 10, axis=1)},
        norms_plus_one=True,
    ),
    "qwen3next": FamilyRecipe(
        "qwen3next", "Qwen3NextForCausalLM",
        {**HEADS, **QWEN35, **EXPERT_CONFIG, "shared_expert_intermediate_size": 28, "norm_topk_prob": True,
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}},
        {**POST_NORM, **ATTENTION, **HEAD_NORMS, **EXPERTS, **SHARED_EXPERT,
         "mlp.shared_expert_gate": "ffn_gate_inp_shexp", "linear_attn.norm": "ssm_norm",
         "linear_attn.in_proj_ba": "ssm_ba", "linear_attn.out_proj": "ssm_out"},
        {**QWEN35_KEYS, **MIXTURE_KEYS, "expert_shared_feed_forward_length": 28, **QWEN_PRE},
        changes={"linear_attn.A_log": decay, "linear_attn.dt_bias": renamed("ssm_dt.bias"),
                 "linear_attn.conv1d.weight": squeezed("ssm_conv1d.weight"),
                 "linear_attn.in_proj_qkvz.weight": by_key_head(3, 10, 20)},
        norms_plus_one=True,
    ),
}  # fmt: skip

FAMILIES_OF_ODD_SIZES: Mapping[str, FamilyRecipe] = {**DENSE, **MIXTURES, **RECURRENT}
