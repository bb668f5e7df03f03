"""Tiny random models of the families that no file in the test data covers, written as llama.cpp's converter would.

As `from_transformers`, whose forward direction is extended here by what single tensors become; each function is written
from llama.cpp's `conversion/` and shares nothing with `converter`. No size is a power of two that would hide a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    changes: tensors of a layer, by all of their name → what they become. norms_plus_one: but for those of a gate.
    keys: metadata under the architecture's prefix, all of it.
    """

    gguf: str
    class_name: str
    config: Mapping[str, Any]
    names: Mapping[str, str]
    keys: Mapping[str, Value]
    outside: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    permuted: bool = False
    norms_plus_one: bool = False


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


def squeezed(name: str) -> Change:
    """A convolution's filters without the dimension of 1."""
    return lambda w: {name: w[:, 0]}


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
}  # fmt: skip


@dataclass(frozen=True)
class MadeFamily:
    """What was made: the GGUF, the original's tensors as transformers saved them, and the original itself."""

    gguf: Path
    tensors: Mapping[str, Array]
    model: Any


def build(name: str, folder: Path) -> MadeFamily:
    """Makes the model of FAMILY_RECIPES[name]: the original in `folder`/original, the GGUF as `folder`/model.gguf."""
    import torch
    import transformers
    from safetensors.numpy import load_file

    recipe = FAMILY_RECIPES[name]
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
    tensors = load_file(folder / "original" / "model.safetensors")
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
        "feed_forward_length": config.intermediate_size, **recipe.keys,
    }  # fmt: skip
    whole = {key: value for key, value in keys.items() if key.startswith(("general.", "tokenizer."))}
    own = {f"{recipe.gguf}.{key}": value for key, value in keys.items() if key not in whole}
    for key, value in {**own, **tokenizer_keys(), **whole}.items():
        _add(writer, key, value)
    written = _forward(recipe, config, tensors)
    if "rope_freqs" in recipe.outside:  # a fifth of ten pairs turns
        written["rope_freqs.weight"] = np.array([1.0] * 2 + [1e30] * 8, np.float32)
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
    for name, tensor in tensors.items():
        plus_one = recipe.norms_plus_one and name.endswith("norm.weight") and "linear_attn" not in name
        weights = tensor + np.float32(1) if plus_one else tensor
        module, _, kind = name.rpartition(".")
        if module in outside:
            written[f"{outside[module]}.{kind}"] = weights
            continue
        found = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name)
        assert found is not None, name
        prefix, whole = f"blk.{found[1]}.", found[2]
        if whole in recipe.changes:
            written |= {f"{prefix}{ours}": w for ours, w in recipe.changes[whole](weights).items()}
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
    return written | {name: np.stack([stack[e] for e in range(len(stack))]) for name, stack in stacks.items()}
