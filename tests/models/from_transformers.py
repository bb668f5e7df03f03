"""Tiny random models of transformers, written as GGUF the way llama.cpp's converter would.

The forward direction is written out here from llama.cpp's `conversion/`, with NumPy, and shares nothing with
`converter`. Weights are bfloat16 values in float32, none of them neutral. The vocabulary is byte-level BPE
with bos at id 0, where a recipe has no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models.vocabularies import VOCAB, Value, byte_level, sentencepiece, token_ids

Array = NDArray[np.float32]

HIDDEN, FF, HEADS, KV_HEADS, CONTEXT = 64, 96, 4, 2, 256

ATTENTION = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
MLP = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TWO_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
FOUR_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
DECODER = {**ATTENTION, **MLP, **TWO_NORMS}
OUTSIDE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.final_layernorm": "output_norm",
    "lm_head": "output",
}


@dataclass(frozen=True)
class Recipe:
    """How one model is made and written.

    gguf: general.architecture. class_name: of transformers. config: arguments of its config class.
    names: modules of a layer → GGUF names. permuted: q and k as llama.cpp's LlamaModel permutes them.
    norms_plus_one: as its Gemma classes add 1. fused: q, k and v as one attn_qkv.
    split_experts: a tensor for each expert, as before 2024.
    keys: metadata under the architecture's prefix beyond the common ones. dropped: common ones left out.
    tables: names of `rope_…` tensors beside the model's own → their entries. vocabulary: the tokenizer's keys.
    """

    gguf: str
    class_name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=lambda: DECODER)
    permuted: bool = False
    norms_plus_one: bool = False
    fused: bool = False
    split_experts: bool = False
    keys: Mapping[str, Value] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    tables: Mapping[str, list[float]] = field(default_factory=dict)
    vocabulary: Mapping[str, Value] = field(default_factory=byte_level)


@dataclass(frozen=True)
class TinyModel:
    """What was made: the GGUF, the original folder, and the original's tensors as transformers saved them."""

    recipe: Recipe
    gguf: Path
    folder: Path
    tensors: Mapping[str, Array]
    model: Any


RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
LAYER_NORM = {"attention.layer_norm_epsilon": 1e-5}
THETA = {"rope.freq_base": 50000.0}
ROPE = {"rope_theta": 50000.0, "rope_type": "default"}
TABLE = [1.0, 1.5, 2.25, 1.75, 3.5, 5.0, 4.0, 9.0]  # of no scaling that has a formula

RECIPES: Mapping[str, Recipe] = {
    "llama-biases": Recipe(
        "llama", "LlamaForCausalLM",
        {"rms_norm_eps": 1e-5, "attention_bias": True, "mlp_bias": True,
         "rope_parameters": {**ROPE, "rope_type": "linear", "factor": 4.0}},
        permuted=True,
        keys={**RMS, **THETA, "rope.dimension_count": 16, "vocab_size": VOCAB, "rope.scaling.type": "linear",
              "rope.scaling.factor": 4.0},
    ),
    "llama-fused-old": Recipe(
        "llama", "LlamaForCausalLM",
        {"rms_norm_eps": 1e-6, "attention_bias": True, "num_key_value_heads": HEADS,
         "tie_word_embeddings": True},
        permuted=True, fused=True,
        keys={"attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": 16, "rope.scale_linear": 1.0},
        dropped=("attention.head_count_kv", "feed_forward_length"),
    ),
    "llama-yarn": Recipe(
        "llama", "LlamaForCausalLM",
        {"rms_norm_eps": 1e-5,
         "rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0,
         "original_max_position_embeddings": 32,
                             "attention_factor": 0.75, "beta_fast": 24.0, "beta_slow": 2.0}},
        permuted=True,
        keys={**RMS, **THETA, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
              "rope.scaling.original_context_length": 32, "rope.scaling.yarn_attn_factor": 0.75,
              "rope.scaling.yarn_beta_fast": 24.0, "rope.scaling.yarn_beta_slow": 2.0},
    ),
    "llama-yarn-unset": Recipe(  # −1 is how llama.cpp says that nothing was said
        "llama", "LlamaForCausalLM",
        {"rms_norm_eps": 1e-5,
         "rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0,
                             "original_max_position_embeddings": 64}},
        permuted=True,
        keys={**RMS, **THETA, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
              "rope.scaling.original_context_length": 64, "rope.scaling.yarn_ext_factor": -1.0},
    ),
    "llama-table-and-factor": Recipe(  # llama.cpp divides by both
        "llama", "LlamaForCausalLM",
        {"rms_norm_eps": 1e-5,
         "rope_parameters": {**ROPE, "rope_type": "longrope", "short_factor": [2 * f for f in TABLE],
                             "long_factor": [2 * f for f in TABLE], "factor": 1.0, "attention_factor": 1.0,
                             "original_max_position_embeddings": CONTEXT}},
        permuted=True, tables={"rope_freqs.weight": TABLE},
        keys={**RMS, **THETA, "rope.scaling.type": "linear", "rope.scaling.factor": 2.0},
    ),
    "llama-longrope": Recipe(  # without attn_factor: llama.cpp's is then 1
        "llama", "LlamaForCausalLM",
        {"rms_norm_eps": 1e-5,
         "rope_parameters": {**ROPE, "rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": TABLE,
                             "attention_factor": 1.0, "original_max_position_embeddings": 64}},
        permuted=True,
        tables={"rope_factors_short.weight": [1.0] * 8, "rope_factors_long.weight": TABLE},
        keys={**RMS, **THETA, "rope.scaling.original_context_length": 64},
    ),
    "llama-per-layer-keys": Recipe(
        "llama", "LlamaForCausalLM", {"rms_norm_eps": 1e-5, "rope_parameters": ROPE},
        permuted=True,
        keys={**RMS, **THETA, "attention.head_count": [HEADS] * 2, "attention.head_count_kv": [KV_HEADS] * 2,
              "feed_forward_length": [FF] * 2},
    ),
    "llama-qkv-biases": Recipe(
        "llama", "Qwen2ForCausalLM", {"rms_norm_eps": 1e-5, "rope_parameters": ROPE},
        permuted=True, keys={**RMS, **THETA},
    ),
    "mistral-uneven": Recipe(
        "llama", "MistralForCausalLM",
        {"rms_norm_eps": 1e-5, "num_attention_heads": 6, "head_dim": 16, "sliding_window": None,
         "rope_parameters": ROPE},
        permuted=True,
        keys={**RMS, **THETA, "rope.dimension_count": 16},
    ),
    "mistral-window": Recipe(
        "llama", "MistralForCausalLM",
        {"rms_norm_eps": 1e-5, "num_key_value_heads": 1, "sliding_window": 8, "rope_parameters": ROPE},
        permuted=True, keys={**RMS, **THETA, "attention.sliding_window": 8},
    ),
    "mixtral-split-experts": Recipe(
        "llama", "MixtralForCausalLM",
        {"rms_norm_eps": 1e-5, "num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, "block_sparse_moe.gate": "ffn_gate_inp",
         "block_sparse_moe.experts.{e}.w1": "ffn_gate",
         "block_sparse_moe.experts.{e}.w2": "ffn_down", "block_sparse_moe.experts.{e}.w3": "ffn_up"},
        permuted=True, split_experts=True,
        keys={**RMS, **THETA, "expert_count": 4, "expert_used_count": 2},
    ),
    "phi2-fused": Recipe(
        "phi2", "PhiForCausalLM",
        {"layer_norm_eps": 1e-5, "num_key_value_heads": HEADS, "hidden_act": "gelu_new",
         "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.25}},
        {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up",
         "mlp.fc2": "ffn_down"},
        fused=True,
        keys={**LAYER_NORM, "rope.dimension_count": 4, "feed_forward_length": 4 * HIDDEN},
    ),
    "phi3-plain": Recipe(
        "phi3", "Phi3ForCausalLM",
        {"rms_norm_eps": 1e-5, "tie_word_embeddings": True, "sliding_window": None,
         "original_max_position_embeddings": CONTEXT,
         "rope_parameters": {**ROPE, "partial_rotary_factor": 0.75}},
        {**TWO_NORMS, "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
         "mlp.gate_up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"},
        keys={**RMS, **THETA, "rope.dimension_count": 12, "attention.sliding_window": 0},
    ),
    "phi3-linear": Recipe(  # of which transformers' class knows nothing but longrope
        "phi3", "Phi3ForCausalLM",
        {"rms_norm_eps": 1e-5, "sliding_window": None, "original_max_position_embeddings": CONTEXT,
         "rope_parameters": {**ROPE, "rope_type": "longrope", "partial_rotary_factor": 0.75,
                             "short_factor": [2.0] * 6, "long_factor": [2.0] * 6}},
        {**TWO_NORMS, "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
         "mlp.gate_up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"},
        keys={**RMS, **THETA, "rope.dimension_count": 12, "rope.scaling.factor": 2.0},
    ),
    "qwen2-wide-heads": Recipe(
        "qwen2", "Qwen2ForCausalLM", {"rms_norm_eps": 1e-6, "head_dim": 24, "rope_parameters": ROPE},
        keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA, "attention.key_length": 24,
              "attention.value_length": 24},
    ),
    "qwen3-rows-say-heads": Recipe(  # no key says that they are wider than hidden / heads
        "qwen3", "Qwen3ForCausalLM", {"rms_norm_eps": 1e-6, "head_dim": 24, "rope_parameters": ROPE},
        {**DECODER, **HEAD_NORMS}, keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA},
    ),
    "qwen2": Recipe(
        "qwen2", "Qwen2ForCausalLM", {"rms_norm_eps": 1e-6, "tie_word_embeddings": True,
        "rope_parameters": ROPE},
        fused=True, keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA},
    ),
    "qwen3-moe": Recipe(
        "qwen3moe", "Qwen3MoeForCausalLM",
        {"rms_norm_eps": 1e-6, "head_dim": 24, "num_experts": 4, "num_experts_per_tok": 2,
         "moe_intermediate_size": 32,
         "norm_topk_prob": True, "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, **HEAD_NORMS, "mlp.gate": "ffn_gate_inp",
         "mlp.experts.{e}.gate_proj": "ffn_gate_exps",
         "mlp.experts.{e}.up_proj": "ffn_up_exps", "mlp.experts.{e}.down_proj": "ffn_down_exps"},
        keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA, "attention.key_length": 24,
        "attention.value_length": 24,
              "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32},
    ),
    "gemma": Recipe(
        "gemma", "GemmaForCausalLM",
        {"rms_norm_eps": 1e-6, "num_key_value_heads": 1, "head_dim": 24, "tie_word_embeddings": True},
        norms_plus_one=True,
        keys={"attention.layer_norm_rms_epsilon": 1e-6, "attention.key_length": 24,
        "attention.value_length": 24},
        vocabulary=sentencepiece(),
    ),
    "gemma2-defaults": Recipe(
        "gemma2", "Gemma2ForCausalLM",
        {"rms_norm_eps": 1e-6, "head_dim": 16, "query_pre_attn_scalar": 16, "tie_word_embeddings": True},
        {**ATTENTION, **MLP, **FOUR_NORMS},
        norms_plus_one=True, keys={"attention.layer_norm_rms_epsilon": 1e-6},
    ),
    "gemma3-pattern": Recipe(
        "gemma3", "Gemma3ForCausalLM",
        {"rms_norm_eps": 1e-6, "head_dim": 16, "query_pre_attn_scalar": 16, "tie_word_embeddings": False,
         "sliding_window": 8,
         "layer_types": ["sliding_attention", "full_attention"],
         "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
        {**ATTENTION, **MLP, **FOUR_NORMS, **HEAD_NORMS},
        norms_plus_one=True,
        keys={"attention.layer_norm_rms_epsilon": 1e-6, "attention.sliding_window": 8,
              "attention.sliding_window_pattern": [True, False]},
    ),
    "gemma3-no-window": Recipe(
        "gemma3", "Gemma3ForCausalLM",
        {"rms_norm_eps": 1e-6, "head_dim": 16, "query_pre_attn_scalar": 16,
         "layer_types": ["full_attention", "full_attention"],
         "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
        {**ATTENTION, **MLP, **FOUR_NORMS, **HEAD_NORMS},
        norms_plus_one=True, keys={"attention.layer_norm_rms_epsilon": 1e-6, "attention.sliding_window": 0},
    ),
    "granite-zeros": Recipe(  # a multiplier of 0 says no more than a missing key
        "granite", "GraniteForCausalLM",
        {"rms_norm_eps": 1e-5, "attention_multiplier": 0.25, "logits_scaling": 8.0, "rope_parameters": ROPE},
        permuted=True,
        keys={**RMS, **THETA, "attention.scale": 0.0, "embedding_scale": 0.0, "residual_scale": 0.0,
              "logit_scale": 8.0},
    ),
    "granite": Recipe(
        "granite", "GraniteForCausalLM",
        {"rms_norm_eps": 1e-5, "tie_word_embeddings": True, "attention_multiplier": 0.22,
         "embedding_multiplier": 12.0,
         "residual_multiplier": 0.3, "logits_scaling": 8.0, "rope_parameters": ROPE},
        permuted=True,
        keys={**RMS, **THETA, "attention.scale": 0.22, "embedding_scale": 12.0, "residual_scale": 0.3,
        "logit_scale": 8.0,
              "rope.dimension_count": 16, "vocab_size": VOCAB},
    ),
    "granite-defaults": Recipe(
        "granite", "GraniteForCausalLM",
        {"rms_norm_eps": 1e-5, "attention_bias": True, "mlp_bias": True, "attention_multiplier": 0.25,
         "logits_scaling": 1.0, "rope_parameters": ROPE},
        permuted=True, fused=True, keys={**RMS, **THETA, "logit_scale": 1.0},
    ),
    "olmo2": Recipe(
        "olmo2", "Olmo2ForCausalLM", {"rms_norm_eps": 1e-6, "rope_parameters": ROPE},
        {**ATTENTION, **MLP, **HEAD_NORMS, "post_attention_layernorm": "post_attention_norm",
         "post_feedforward_layernorm": "post_ffw_norm"},
        keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA},
    ),
    "olmo2-no-window": Recipe(
        "olmo2", "Olmo2ForCausalLM", {"rms_norm_eps": 1e-6, "head_dim": 24, "rope_parameters": ROPE},
        {**ATTENTION, **MLP, **HEAD_NORMS, "post_attention_layernorm": "post_attention_norm",
         "post_feedforward_layernorm": "post_ffw_norm"},
        keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA, "attention.sliding_window": 0,
              "attention.key_length": 24, "attention.value_length": 24},
    ),
    "olmo3": Recipe(
        "olmo2", "Olmo3ForCausalLM",
        {"rms_norm_eps": 1e-6, "num_hidden_layers": 5, "sliding_window": 8,
         "rope_parameters": {
             "full_attention": {**ROPE, "rope_type": "yarn", "factor": 4.0,
             "original_max_position_embeddings": 32},
             "sliding_attention": ROPE}},
        {**ATTENTION, **MLP, **HEAD_NORMS, "post_attention_layernorm": "post_attention_norm",
         "post_feedforward_layernorm": "post_ffw_norm"},
        keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA, "attention.sliding_window": 8,
        "rope.scaling.type": "yarn",
              "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32},
    ),
    "stablelm": Recipe(
        "stablelm", "StableLmForCausalLM",
        {"layer_norm_eps": 1e-5, "use_qkv_bias": True,
         "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.25}},
        keys={**LAYER_NORM, "rope.dimension_count": 4, "use_parallel_residual": True},
    ),
    "stablelm-parallel-head-norms": Recipe(
        "stablelm", "StableLmForCausalLM",
        {"layer_norm_eps": 1e-5, "qk_layernorm": True, "use_parallel_residual": True,
         "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.5}},
        {**DECODER, "self_attn.q_layernorm.norms.{e}": "attn_q_norm",
         "self_attn.k_layernorm.norms.{e}": "attn_k_norm"},
        keys={**LAYER_NORM, "rope.dimension_count": 8, "use_parallel_residual": True},
    ),
    "starcoder2": Recipe(
        "starcoder2", "Starcoder2ForCausalLM",
        {"norm_epsilon": 1e-5, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True,
         "rope_parameters": ROPE},
        {**ATTENTION, **TWO_NORMS, "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
        keys={**LAYER_NORM, **THETA},
    ),
    "smollm3": Recipe(
        "smollm3", "SmolLM3ForCausalLM",
        {"rms_norm_eps": 1e-6, "num_hidden_layers": 5, "tie_word_embeddings": True, "rope_parameters": ROPE},
        permuted=True,
        keys={"attention.layer_norm_rms_epsilon": 1e-6, **THETA, "rope.dimension_count": 16,
        "vocab_size": VOCAB},
    ),
    "command-r": Recipe(
        "command-r", "CohereForCausalLM",
        {"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "tie_word_embeddings": True, "rope_parameters": ROPE},
        {**ATTENTION, **MLP, "input_layernorm": "attn_norm"},
        keys={**LAYER_NORM, **THETA, "logit_scale": 0.0625, "rope.scaling.type": "none"},
    ),
    "command-r-no-scale": Recipe(
        "command-r", "CohereForCausalLM",
        {"layer_norm_eps": 1e-5, "logit_scale": 1.0, "head_dim": 24, "tie_word_embeddings": True,
         "rope_parameters": ROPE},
        {**ATTENTION, **MLP, "input_layernorm": "attn_norm"},
        keys={**LAYER_NORM, **THETA, "attention.key_length": 24, "attention.value_length": 24},
    ),
    "command-r-head-norms": Recipe(
        "command-r", "CohereForCausalLM",
        {"layer_norm_eps": 1e-5, "logit_scale": 0.25, "tie_word_embeddings": True, "use_qk_norm": True,
         "num_key_value_heads": 1, "rope_parameters": ROPE},
        {**ATTENTION, **MLP, **HEAD_NORMS, "input_layernorm": "attn_norm"},
        keys={**LAYER_NORM, **THETA, "logit_scale": 0.25},
    ),
}  # fmt: skip


def build(name: str, folder: Path) -> TinyModel:
    """Makes the model of RECIPES[name]: the original in `folder`/original, the GGUF as `folder`/model.gguf."""
    import torch
    import transformers
    from safetensors.numpy import load_file

    recipe = RECIPES[name]
    model_class = getattr(transformers, recipe.class_name)
    common = {
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FF, "num_hidden_layers": 2,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False, **token_ids(recipe.vocabulary),
    }  # fmt: skip
    if recipe.gguf == "phi2":
        common["intermediate_size"] = 4 * HIDDEN
    torch.manual_seed(sum(name.encode()))
    model = model_class(model_class.config_class(**{**common, **recipe.config})).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.copy_(_weights(parameter_name, parameter.shape, recipe))
    model.save_pretrained(folder / "original")
    tensors = load_file(folder / "original" / "model.safetensors")
    write_gguf(folder / "model.gguf", recipe, model.config, tensors)
    return TinyModel(recipe, folder / "model.gguf", folder / "original", tensors, model)


def _weights(name: str, shape: tuple[int, ...], recipe: Recipe) -> Any:
    """Random bfloat16 values away from zero: norms around 1 (Gemma's around 0), all others around 0."""
    import torch

    random = torch.rand(shape) * 0.4 + 0.05
    signs = torch.where(torch.rand(shape) < 0.5, -1.0, 1.0)
    around_one = "norm" in name and name.endswith("weight") and not recipe.norms_plus_one
    return (1 + signs * random if around_one else signs * random).bfloat16().float()


def write_gguf(path: Path, recipe: Recipe, config: Any, tensors: Mapping[str, Array]) -> None:
    """Writes a GGUF of float32 tensors with the keys that llama.cpp's converter writes."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, recipe.gguf)
    keys: dict[str, Value] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        **recipe.keys,
    }
    for key, value in keys.items():
        if key not in recipe.dropped:
            _add(writer, f"{recipe.gguf}.{key}", value)
    _add(writer, "general.name", "Tiny")
    _add(writer, "general.sampling.temp", 0.6)
    for key, value in recipe.vocabulary.items():
        _add(writer, key, value)
    for name, tensor in forward(
        recipe, config.num_attention_heads, config.num_key_value_heads, tensors
    ).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    for name, table in recipe.tables.items():
        writer.add_tensor(name, np.array(table, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: Any, key: str, value: Value) -> None:
    adders: Mapping[type, Callable[[str, Value], None]] = {
        str: writer.add_string,
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        list: writer.add_array,
    }
    adders[type(value)](key, value)


def forward(recipe: Recipe, heads: int, kv_heads: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Transformers' tensors → GGUF's: renamed, permuted, shifted, stacked and fused as the recipe says."""
    written: dict[str, Array] = {}
    stacks: dict[str, dict[int, Array]] = {}
    for name, tensor in tensors.items():
        module, kind = name.rsplit(".", 1)
        if recipe.norms_plus_one and name.endswith("norm.weight"):
            tensor = tensor + np.float32(1)
        if module in OUTSIDE:
            written[f"{OUTSIDE[module]}.{kind}"] = tensor
            continue
        layer, place = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", module).groups()  # type: ignore[union-attr]
        part = re.search(r"\.(?:experts|norms)\.(\d+)", place)
        gguf = recipe.names[place if part is None else place.replace(f".{part[1]}", ".{e}", 1)]
        if recipe.permuted and gguf in ("attn_q", "attn_k"):
            tensor = permuted(tensor, heads if gguf == "attn_q" else kv_heads)
        if part is not None and recipe.split_experts:
            written[f"blk.{layer}.{gguf}.{part[1]}.{kind}"] = tensor
        elif part is not None:
            stacks.setdefault(f"blk.{layer}.{gguf}.{kind}", {})[int(part[1])] = tensor
        else:
            written[f"blk.{layer}.{gguf}.{kind}"] = tensor
    written |= {name: np.stack([stack[e] for e in range(len(stack))]) for name, stack in stacks.items()}
    return fused(written) if recipe.fused else written


def permuted(tensor: Array, heads: int) -> Array:
    """The two halves of each head's rows interleaved: conversion/llama.py, `permute`."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def fused(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """q, k and v of each layer, weights and biases, as one attn_qkv: conversion/base.py, `--fuse-qkv`."""
    written = dict(tensors)
    for name in tensors:
        if ".attn_q." in name:
            parts = [written.pop(name.replace("attn_q", f"attn_{part}")) for part in "qkv"]
            written[name.replace("attn_q", "attn_qkv")] = np.concatenate(parts)
    return written
