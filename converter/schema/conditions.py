"""Conditions: which of several classes a file with one `general.architecture` is for."""

from __future__ import annotations

import re

from llorch.converter.schema.architecture import Evidence

EXPERTS = re.compile(r"blk\.\d+\.ffn_(gate|up|down|gate_up)_exps\.(weight|scale)")


def has_experts(evidence: Evidence) -> bool:
    """The feed-forward layers are mixtures of experts."""
    return evidence.keys.integer("expert_count", 0) > 0


def is_mistral(evidence: Evidence) -> bool:
    """A dense Llama that only Mistral's class can express, or that says it is a Mistral.

    Nothing in a GGUF names the class. Llama's class refuses heads that do not divide the hidden size and has no sliding
    window; Mistral's has no biases.
    """
    keys = evidence.keys
    if has_experts(evidence) or any(name.endswith(".bias") for name in evidence.tensors):
        return False
    heads = keys.count("attention.head_count")
    uneven = keys.count("embedding_length") % heads != 0
    names = [keys.metadata.get(f"general.{key}") for key in ("name", "basename", "base_model.0.name")]
    is_named = any("mistral" in str(name.data).lower() for name in names if name is not None)
    return uneven or is_named or keys.has("attention.sliding_window")


def has_qkv_bias_only(evidence: Evidence) -> bool:
    """Biases on q, k and v but not on the attention's output: Qwen2's class has these, Llama's cannot."""
    fused = "blk.0.attn_qkv.bias" in evidence.tensors or "blk.0.attn_q.bias" in evidence.tensors
    return not has_experts(evidence) and fused and "blk.0.attn_output.bias" not in evidence.tensors


def has_window(evidence: Evidence) -> bool:
    """Some layers have a sliding window."""
    return evidence.keys.integer("attention.sliding_window", 0) > 0


def has_other_than_40_layers(evidence: Evidence) -> bool:
    """It is not Baichuan's 13B, which llama.cpp recognizes by its 40 layers (src/models/baichuan.cpp)."""
    return evidence.keys.count("block_count") != 40


def has_temperature(evidence: Evidence) -> bool:
    """Queries are scaled by their position."""
    return evidence.keys.has("attention.temperature_scale")


GLM_FLASH_VOCABULARY, GLM_FLASH_LAYERS = 154880, (47, 48)  # 48 with the prediction layer


def is_glm_flash(evidence: Evidence) -> bool:
    """GLM-4.7-Flash, recognized by its vocabulary and number of layers, or by its name.

    Source: llama.cpp, src/models/deepseek2.cpp, `load_hparams`, which uses the same two numbers.
    """
    keys, embedding = evidence.keys, evidence.tensors.get("token_embd.weight")
    rows = 0 if embedding is None else embedding.shape[0]
    name = keys.metadata.get("general.name")
    named = name is not None and "glm-4.7-flash" in str(name.data).lower().replace(" ", "-")
    return named or (rows == GLM_FLASH_VOCABULARY and keys.integer("block_count", 0) in GLM_FLASH_LAYERS)


def scores_by_sigmoid(evidence: Evidence) -> bool:
    """Experts are scored by a sigmoid, and it is not GLM-4.7-Flash."""
    return evidence.keys.integer("expert_gating_func", 1) == 2 and not is_glm_flash(evidence)


def has_second_norm(evidence: Evidence) -> bool:
    """Attention and the parallel feed-forward network have a norm each."""
    return "blk.0.attn_norm_2.weight" in evidence.tensors


def has_several_key_heads(evidence: Evidence) -> bool:
    """Several key heads, and one norm per block."""
    return evidence.keys.count("attention.head_count_kv", 1) > 1 and not has_second_norm(evidence)


def norms_steps(evidence: Evidence) -> bool:
    """The step, B and C of a Mamba are normed, as in Falcon Mamba."""
    return evidence.keys.flag("ssm.dt_b_c_rms", False)


def experts_stay_mxfp4(evidence: Evidence) -> bool:
    """All experts are MXFP4 blocks without scales beside them, and blocks are to be kept."""
    types = {
        tensor.type.name if name.endswith(".weight") else "a scale"
        for name, tensor in evidence.tensors.items()
        if EXPERTS.fullmatch(name)
    }
    return evidence.keeps_blocks and types == {"MXFP4"}
