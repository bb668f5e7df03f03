"""Faults in operations, blocks and traits that only later families have, one planted at a time.

As `mutations`: what is changed in a float32 folder of a tiny model of the test data's families, or else of a recipe's,
the checks that must fail, and what each must say of where it lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.verification.mutations import Mutation, Plant
from tests.verification.planting import Planted, Weights

FAMILY_MUTATIONS: list[Mutation] = []
LAYER = "model.layers.0."


def planted(model: str, name: str, plant: Plant, *caught_by: tuple[str, str]) -> None:
    FAMILY_MUTATIONS.append(Mutation(model, name, plant, caught_by))


def weights(model: str, name: str, tensor: str, change: Any, place: str) -> None:
    """Return a change of a tensor, caught by its bits and at the first step that differs."""
    there = tensor.replace(".", r"\.")
    planted(model, name, lambda pair: pair.change(tensor, change), ("round_trip", there), ("lockstep", place))


def config(model: str, name: str, changes: dict[str, Any], *caught_by: tuple[str, str]) -> None:
    planted(model, name, lambda pair: pair.edit("config.json", **changes), *caught_by)


def rope(model: str, name: str, changes: dict[str, Any], *caught_by: tuple[str, str]) -> None:
    """Of the parameters of the rotary embedding, in the spellings of both generations."""

    def plant(pair: Planted) -> None:
        document = pair.json("config.json")
        document["rope_parameters"] |= changes
        if document.get("rope_scaling"):
            document["rope_scaling"] |= changes
        document |= {key: value for key, value in changes.items() if key in document}
        pair.write("config.json", document)

    planted(model, name, plant, *caught_by)


def zeros(w: Weights) -> Weights:
    return np.zeros_like(w)


def plus_one(w: Weights) -> Weights:
    return w + 1


def halves_exchanged(axis: int) -> Any:
    return lambda w: np.concatenate(np.split(w, 2, axis)[::-1], axis)


def grouped_again(groups: int, rows: int, before: int = 0) -> Any:
    """Return a change to value heads in the file's order, tiled over the key heads."""

    def change(w: Weights) -> Weights:
        rest = w[before:].reshape(groups, -1, rows, *w.shape[1:]).swapaxes(0, 1).reshape(w[before:].shape)
        return np.concatenate([w[:before], rest])

    return change


# fmt: off
# operations
weights("qwen35", "V heads left tiled in z", f"{LAYER}linear_attn.in_proj_z.weight", grouped_again(2, 16), "layer 0")
weights("qwen35", "V heads left tiled in a", f"{LAYER}linear_attn.in_proj_a.weight", grouped_again(2, 1), "layer 0")
weights("qwen35", "columns of the output moved", f"{LAYER}linear_attn.out_proj.weight",
        lambda w: np.roll(w, 16, 1), "layer 0")
weights("qwen35", "norm's 1 added twice", f"{LAYER}input_layernorm.weight", plus_one, "layer 0, attention_norm")
weights("qwen35", "1 taken from the gated norm", f"{LAYER}linear_attn.norm.weight", lambda w: w - 1, "layer 0")
weights("qwen3next", "A_log of −exp taken as it is", f"{LAYER}linear_attn.A_log", lambda w: -np.exp(w), "layer 0")
weights("lfm2", "taps reversed", f"{LAYER}conv.conv.weight", lambda w: w[..., ::-1], "layer 0, attention_output")
weights("gptoss", "gate and up one after the other", f"{LAYER}mlp.experts.gate_up_proj",
        lambda w: np.concatenate([w[..., 0::2], w[..., 1::2]], -1), "layer 0, ffn_output")
weights("llama4", "gate and up exchanged", "model.layers.1.feed_forward.experts.gate_up_proj", halves_exchanged(-1),
        "layer 1, ffn_output")
weights("deepseek2", "k_b and v_b exchanged", f"{LAYER}self_attn.kv_b_proj.weight", halves_exchanged(0), "layer 0")
weights("granitehybrid", "D dropped", f"{LAYER}mamba.D", zeros, "layer 0, attention_output")
weights("falcon-h1-normed", "D dropped", f"{LAYER}mamba.D", zeros, "layer 0, space")
weights("falcon-h1-normed", "B and C exchanged", f"{LAYER}mamba.in_proj.weight",
        lambda w: np.concatenate([w[:132], w[171:210], w[132:171], w[210:]]), "layer 0, space")
weights("falcon-h1-normed", "the gated norm 1", f"{LAYER}mamba.norm.weight", lambda w: w * 0 + 1, "layer 0, space")
weights("falcon-h1", "the state space dropped", f"{LAYER}mamba.out_proj.weight", zeros, "layer 0, space")
weights("falcon-h1", "attention dropped", f"{LAYER}self_attn.o_proj.weight", zeros, "layer 0, attention_output")
weights("falcon-h1", "keys multiplied again", f"{LAYER}self_attn.k_proj.weight", lambda w: w * 0.390625, "layer 0, k")
weights("mamba", "D dropped", "backbone.layers.0.mixer.D", zeros, "layer 0, attention_output")
weights("mamba", "the step's bias dropped", "backbone.layers.0.mixer.dt_proj.bias", zeros,
        "layer 0, attention_output")
weights("falcon40", "queries, keys and values left in blocks",
        "transformer.h.0.self_attention.query_key_value.weight", lambda w: np.roll(w, 8, 0), "layer 0, [qkv]")
weights("falcon40", "norms of attention and feed-forward alike", "transformer.h.0.ln_mlp.weight",
        lambda w: w[::-1], "layer 0, ffn_norm")
weights("nemotron", "norm's 1 added twice", f"{LAYER}input_layernorm.weight", plus_one, "layer 0, attention_norm")
weights("apertus", "alpha_p of another layer", f"{LAYER}mlp.act_fn.alpha_p", plus_one, "layer 0, ffn_output")
weights("apertus", "alpha_n dropped", f"{LAYER}mlp.act_fn.alpha_n", lambda w: w - 4, "layer 0, ffn_output")
weights("maincoder", "a norm's pairs left side by side", f"{LAYER}self_attn.query_layernorm.weight",
        lambda w: w.reshape(2, -1).T.reshape(-1), "layer 0, q")
weights("dbrx", "down left (out, in)", "transformer.blocks.0.ffn.experts.mlp.w2",
        lambda w: w.reshape(7, 20, 60).swapaxes(1, 2).reshape(140, 60), "layer 0, ffn_output")
weights("codeshell", "the bias of queries dropped", f"{LAYER}self_attn.q_proj.bias", zeros, "layer 0, q")

# blocks
weights("afmoe", "the output's gate dropped", f"{LAYER}self_attn.gate_proj.weight", zeros, "layer 0, attention")
weights("afmoe", "expert bias dropped", "model.layers.2.mlp.expert_bias", zeros, "layer 2, ffn_output")
weights("exaone-moe", "expert bias dropped", "model.layers.1.mlp.e_score_correction_bias", zeros,
        "layer 1, ffn_output")
weights("jais2", "the bias of up dropped", f"{LAYER}mlp.up_proj.bias", zeros, "layer 0, ffn_output")
weights("glm4moe", "expert bias dropped", "model.layers.1.mlp.gate.e_score_correction_bias", zeros,
        "layer 1, ffn_output")
weights("nemotronhmoe", "expert bias dropped", "backbone.layers.1.mixer.gate.e_score_correction_bias", zeros,
        "layer 1")
weights("gptoss", "sinks dropped", f"{LAYER}self_attn.sinks", lambda w: w - 100, "layer 0, attention")
weights("gemma4-e", "layer_scalar 1", f"{LAYER}layer_scalar", lambda w: w * 0 + 1, "layer 0, output")
weights("gemma4-e", "a layer's embedding scaled", "model.embed_tokens_per_layer.weight", lambda w: w * 1.5,
        "layer 0, output")
weights("gemma3n", "bypass dropped", f"{LAYER}laurel.linear_right.weight", zeros, "layer 0, ffn_norm")
weights("gemma3n", "predictions transposed", f"{LAYER}altup.prediction_coefs.weight", lambda w: w[::-1], "layer 0")
weights("gemma3n", "a state's projection of another", "model.altup_projections.0.weight", lambda w: w.T, "layer 0")

# traits
config("deepseek2", "groups ignored", {"n_group": 1, "topk_group": 1}, ("traits.structure", "routing"))
config("glm4moe", "routed scaling 1", {"routed_scaling_factor": 1.0}, ("traits.structure", "routing"))
config("glm4moe", "not renormalised", {"norm_topk_prob": False}, ("traits.structure", "routing"))
config("gptoss", "another window", {"sliding_window": 5}, ("traits.structure", "windows"))
config("gemma3n", "gates all count", {"activation_sparsity_pattern": [0.0, 0.0]}, ("traits.structure", "sparsity"))
config("gemma3n", "another state is active", {"altup_active_idx": 1}, ("traits.structure", "streams"))
config("llama4", "heads not normed", {"use_qk_norm": False}, ("traits.structure", "head_norm"))
config("llama4", "every layer rotates", {"no_rope_layers": [1, 1, 1, 1]}, ("traits.rope", "layer 3"))
config("llama4", "smaller chunks", {"attention_chunk_size": 16}, ("traits.structure", "chunks"))
config("llama4", "no temperature", {"attn_temperature_tuning": False}, ("traits.structure", "temperature"))
config("granitehybrid", "residual multiplier 1", {"residual_multiplier": 1.0}, ("traits.numbers", "residual_scale"))
config("nemotronhmoe", "no least step", {"time_step_min": 0.0}, ("traits.structure", "mixers"))
config("falcon-h1", "keys multiplied again", {"key_multiplier": 0.390625}, ("lockstep", "layer 0, k"))
config("falcon-h1", "attention's input multiplied again", {"attention_in_multiplier": 0.7}, ("lockstep", "layer 0, v"))
config("falcon-h1", "attention's output multiplied again", {"attention_out_multiplier": 0.9375},
       ("lockstep", "layer 0, attention_output"))
config("falcon-h1", "the space's input multiplied again", {"ssm_in_multiplier": 1.25}, ("lockstep", "layer 0, space"))
config("falcon-h1", "the space's parts multiplied again", {"ssm_multipliers": [1.0, 1.0, 1.0, 1.0, 0.45]},
       ("lockstep", "layer 0, space"))
config("falcon-h1", "the space's output multiplied again", {"ssm_out_multiplier": 0.2357},
       ("lockstep", "layer 0, space"))
config("falcon-h1", "gates multiplied again", {"mlp_multipliers": [0.8838, 1.0]}, ("lockstep", "layer 0, ffn_output"))
config("falcon-h1", "downs multiplied again", {"mlp_multipliers": [1.0, 0.5859375]},
       ("lockstep", "layer 0, ffn_output"))
config("falcon-h1", "tokens multiplied again", {"embedding_multiplier": 5.65}, ("traits.numbers", "embedding_scale"))
config("falcon-h1", "logits multiplied again", {"lm_head_multiplier": 0.039}, ("traits.numbers", "logit_scale"))
config("exaone4", "another window", {"sliding_window": 7}, ("traits.structure", "windows"))
config("olmo", "nothing bounded", {"clip_qkv": None}, ("traits.numbers", "qkv_clamp"))
config("afmoe", "the embedding as it is", {"mup_enabled": False}, ("traits.numbers", "embedding_scale"))
config("afmoe", "another layer attends to all", {"layer_types": ["full_attention"] + ["sliding_attention"] * 4},
       ("traits.structure", "windows"), ("traits.rope", "layer 0"))
config("bailingmoe2", "groups ignored", {"n_group": 1, "topk_group": 1}, ("traits.structure", "routing"))
config("dbrx", "nothing bounded", {"attn_config": {"clip_qkv": None, "kv_n_heads": 3, "rope_theta": 50000.0}},
       ("traits.numbers", "qkv_clamp"))
config("phimoe", "a mixer that is not sparse", {"router_jitter_noise": 10.0}, ("traits.structure", "routing"))
rope("phimoe", "angles grow as llama.cpp's do", {"short_mscale": 1.0, "long_mscale": 1.0},
     ("traits.rope", "layer 0"))
config("mellum", "another layer attends to all", {"layer_types": ["full_attention"] + ["sliding_attention"] * 4},
       ("traits.structure", "windows"), ("traits.rope", "layer 0"))
config("hy_v3", "weights as they are", {"router_scaling_factor": 1.0}, ("traits.structure", "routing"))
weights("hy_v3", "an expert is never chosen", "model.layers.1.mlp.expert_bias", lambda w: w - 9 * (w == w.max()),
        "layer 1")
rope("hunyuan_vl", "the stretch taken twice", {"rope_theta": 279182.5 * 31.02}, ("traits.rope", "layer 0"))
config("cohere2moe", "the shared network is added", {"shared_expert_combination_strategy": "sum"},
       ("traits.structure", "routing"))
config("cohere2moe", "scored by a softmax", {"expert_selection_fn": "softmax"}, ("traits.structure", "routing"))
config("cohere2moe", "the dense layer is not rotated", {"prefix_dense_sliding_window_pattern": 2},
       ("traits.rope", "layer 0"))
config("cohere2moe-rms", "norms about the mean", {"rms_norm_eps": None}, ("traits.structure", "norm"))
config("granite_swa", "another layer attends to all", {"layer_types": ["full_attention"] + ["sliding_attention"] * 4},
       ("traits.structure", "windows"))
config("granite_swa", "every layer rotates", {"layer_rope_theta": [50000.0] * 5}, ("traits.rope", "layer 1"))
weights("granite_swa", "a sink that takes more", "model.layers.1.self_attn.sinks", plus_one, "layer 1, attention")
weights("granite_swa-moe", "gate and up exchanged", "model.layers.0.block_sparse_moe.experts.gate_up_proj",
        halves_exchanged(1), "layer 0, ffn_output")
weights("granite_swa-moe", "the shared gate and up exchanged", "model.layers.0.shared_mlp.input_linear.weight",
        halves_exchanged(0), "layer 0, ffn_output")
weights("bitnet", "attention's other norm is undone", f"{LAYER}self_attn.attn_sub_norm.weight", np.ones_like,
        "layer 0, attention_output")
weights("bitnet", "the feed-forward's other norm is undone", f"{LAYER}mlp.ffn_sub_norm.weight", np.ones_like,
        "layer 0, ffn_output")
config("bitnet", "relu2", {"hidden_act": "relu2"}, ("traits.structure", "activation"))
config("mimo2", "values as they are", {"attention_value_scale": 1.0}, ("traits.numbers", "value_scale"))
config("mimo2", "the window without the query's position", {"sliding_window_size": 11},
       ("traits.structure", "windows"))
weights("mimo2", "values of other heads", "model.layers.1.self_attn.v_proj.weight", lambda w: np.roll(w, 10, 0),
        "layer 1, v")
weights("mimo2", "a sink that takes more", "model.layers.1.self_attn.attention_sink_bias", plus_one,
        "layer 1, attention")
config("laguna", "another share of a head turns",
       {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 50000.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 9000.0}}},
       ("traits.rope", "layer 0"))
config("laguna", "weights as they are", {"moe_routed_scaling_factor": 1.0}, ("traits.structure", "routing"))
weights("laguna", "gates of other heads", "model.layers.1.self_attn.g_proj.weight", lambda w: w[::-1], "layer 1")
config("minicpm3", "another depth", {"scale_depth": 1.0}, ("traits.numbers", "residual_scale"))
config("minicpm3", "another base of the logits", {"dim_model_base": 128}, ("traits.numbers", "logit_scale"))
config("minicpm3", "the embedding as it is", {"scale_emb": 1}, ("traits.numbers", "embedding_scale"))
rope("orion", "half a head rotates", {"partial_rotary_factor": 0.6}, ("traits.rope", "layer 0"))
rope("mistral3", "no temperature", {"llama_4_scaling_beta": 0.0}, ("traits.structure", "temperature"))
rope("minimaxm2", "whole heads rotate", {"partial_rotary_factor": 1.0}, ("traits.rope", "layer 0"))
rope("qwen35", "another base", {"rope_theta": 12345.0}, ("traits.rope", "layer"))
rope("nemotron", "whole heads rotate", {"partial_rotary_factor": 1.0}, ("traits.rope", "layer 0"))
# fmt: on
