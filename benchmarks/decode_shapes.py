"""Shapes of models with special layers: mixtures of experts, recurrences, latent attention, float16 weights.

They are those of the published config.json, some with only a few layers; types are chosen as in `full_size`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from benchmarks.full_size import Shape, Tensors, of_layer, qwen2_5_0_5b, uses_more_bits


def qwen2_5_0_5b_f16() -> Shape:
    """Qwen2.5-0.5B, every matrix in float16."""
    shape = qwen2_5_0_5b()
    halves = [(name, extents, "F32" if len(extents) == 1 else "F16") for name, extents, _ in shape.tensors]
    return replace(shape, tensors=tuple(halves))


def qwen3_30b_a3b(layers: int = 3) -> Shape:
    """Three layers of Qwen3-30B-A3B: 128 experts of 768 × 2048, eight of them per token."""
    hidden, ff, experts, q, kv, vocabulary = 2048, 768, 128, 4096, 512, 151936
    tensors: Tensors = [("token_embd.weight", (vocabulary, hidden), "Q4_K")]
    for i in range(layers):
        more = "Q6_K" if uses_more_bits(i, layers) else "Q4_K"
        tensors += of_layer(
            i,
            ("attn_norm.weight", (hidden,), "F32"), ("ffn_norm.weight", (hidden,), "F32"),
            ("attn_q.weight", (q, hidden), "Q4_K"), ("attn_q_norm.weight", (128,), "F32"),
            ("attn_k.weight", (kv, hidden), "Q4_K"), ("attn_k_norm.weight", (128,), "F32"),
            ("attn_v.weight", (kv, hidden), more), ("attn_output.weight", (hidden, q), "Q4_K"),
            ("ffn_gate_inp.weight", (experts, hidden), "F32"),
            ("ffn_gate_exps.weight", (experts, ff, hidden), "Q4_K"),
            ("ffn_up_exps.weight", (experts, ff, hidden), "Q4_K"),
            ("ffn_down_exps.weight", (experts, hidden, ff), more),
        )  # fmt: skip
    tensors += [("output_norm.weight", (hidden,), "F32"), ("output.weight", (vocabulary, hidden), "Q6_K")]
    return Shape("qwen3moe", vocabulary, 151387, {
        "block_count": layers, "context_length": 40960, "embedding_length": hidden, "feed_forward_length": 6144,
        "attention.head_count": 32, "attention.head_count_kv": 4, "attention.key_length": 128,
        "attention.value_length": 128, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6,
        "expert_count": experts, "expert_used_count": 8, "expert_feed_forward_length": ff,
    }, tuple(tensors))  # fmt: skip


def granite_4_h_350m() -> Shape:
    """Granite-4.0-H-350M: 28 layers of Mamba 2 and four of attention, with rows of 768, 1536 and 2048 weights."""
    layers, hidden, ff, kv, vocabulary = 32, 768, 2048, 256, 100352
    inner, state, heads = 1536, 128, 48
    attentions = (10, 13, 17, 27)
    tensors: Tensors = [("token_embd.weight", (vocabulary, hidden), "Q6_K")]
    for i in range(layers):
        more = "Q6_K" if uses_more_bits(i, layers) else "Q4_K"
        mixer: Tensors = [
            ("ssm_in.weight", (2 * inner + 2 * state + heads, hidden), "Q4_K"),
            ("ssm_conv1d.weight", (inner + 2 * state, 4), "F32"), ("ssm_conv1d.bias", (inner + 2 * state,), "F32"),
            ("ssm_dt.bias", (heads,), "F32"), ("ssm_a", (heads, 1), "F32"), ("ssm_d", (heads, 1), "F32"),
            ("ssm_norm.weight", (1, inner), "F32"), ("ssm_out.weight", (hidden, inner), "Q4_K"),
        ]  # fmt: skip
        if i in attentions:
            mixer = [
                ("attn_q.weight", (hidden, hidden), "Q4_K"), ("attn_k.weight", (kv, hidden), "Q4_K"),
                ("attn_v.weight", (kv, hidden), more), ("attn_output.weight", (hidden, hidden), "Q4_K"),
            ]  # fmt: skip
        tensors += of_layer(
            i, *mixer,
            ("attn_norm.weight", (hidden,), "F32"), ("ffn_norm.weight", (hidden,), "F32"),
            ("ffn_gate.weight", (ff, hidden), "Q4_K"), ("ffn_up.weight", (ff, hidden), "Q4_K"),
            ("ffn_down.weight", (hidden, ff), more),
        )  # fmt: skip
    tensors.append(("output_norm.weight", (hidden,), "F32"))
    return Shape("granitehybrid", vocabulary, 100000, {
        "block_count": layers, "context_length": 32768, "embedding_length": hidden, "feed_forward_length": ff,
        "attention.head_count": 12, "attention.head_count_kv": [4 if i in attentions else 0 for i in range(layers)],
        "attention.layer_norm_rms_epsilon": 1e-5, "attention.scale": 0.015625, "embedding_scale": 12.0,
        "residual_scale": 0.246, "logit_scale": 3.0, "rope.dimension_count": 64, "rope.freq_base": 10000.0,
        "ssm.conv_kernel": 4, "ssm.state_size": state, "ssm.group_count": 1,
        "ssm.inner_size": inner, "ssm.time_step_rank": heads,
    }, tuple(tensors))  # fmt: skip


def lfm2_350m() -> Shape:
    """LFM2-350M: ten layers of short convolutions and six of attention."""
    layers, hidden, ff, kv, vocabulary = 16, 1024, 4608, 512, 65536
    attentions = (2, 5, 8, 10, 12, 14)
    tensors: Tensors = [
        ("token_embd.weight", (vocabulary, hidden), "Q6_K"), ("token_embd_norm.weight", (hidden,), "F32")
    ]  # fmt: skip
    for i in range(layers):
        more = "Q6_K" if uses_more_bits(i, layers) else "Q4_K"
        mixer: Tensors = [
            ("shortconv.conv.weight", (hidden, 3), "F32"), ("shortconv.in_proj.weight", (3 * hidden, hidden), "Q4_K"),
            ("shortconv.out_proj.weight", (hidden, hidden), "Q4_K"),
        ]  # fmt: skip
        if i in attentions:
            mixer = [
                ("attn_q.weight", (hidden, hidden), "Q4_K"), ("attn_q_norm.weight", (64,), "F32"),
                ("attn_k.weight", (kv, hidden), "Q4_K"), ("attn_k_norm.weight", (64,), "F32"),
                ("attn_v.weight", (kv, hidden), more), ("attn_output.weight", (hidden, hidden), "Q4_K"),
            ]  # fmt: skip
        tensors += of_layer(
            i, *mixer,
            ("attn_norm.weight", (hidden,), "F32"), ("ffn_norm.weight", (hidden,), "F32"),
            ("ffn_gate.weight", (ff, hidden), "Q4_K"), ("ffn_up.weight", (ff, hidden), "Q4_K"),
            ("ffn_down.weight", (hidden, ff), more),
        )  # fmt: skip
    return Shape("lfm2", vocabulary, 63000, {
        "block_count": layers, "context_length": 128000, "embedding_length": hidden, "feed_forward_length": ff,
        "attention.head_count": 16, "attention.head_count_kv": [8 if i in attentions else 0 for i in range(layers)],
        "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 1e6, "shortconv.l_cache": 3,
    }, tuple(tensors))  # fmt: skip


def deepseek_v2_lite(layers: int = 3) -> Shape:
    """Three layers of DeepSeek-V2-Lite: latent attention of rank 512; one dense layer, then 64 experts.

    Queries have rank 1536 as in DeepSeek-V2, since llama.cpp accepts full-rank queries only with 27 layers.
    """
    hidden, ff, experts, heads, rank, vocabulary, low = 2048, 1408, 64, 16, 512, 102400, 1536
    nope, rope, value = 128, 64, 128
    tensors: Tensors = [("token_embd.weight", (vocabulary, hidden), "Q4_K")]
    for i in range(layers):
        network: Tensors = [
            ("ffn_gate_inp.weight", (experts, hidden), "F32"),
            ("ffn_gate_exps.weight", (experts, ff, hidden), "Q4_K"),
            ("ffn_up_exps.weight", (experts, ff, hidden), "Q4_K"),
            ("ffn_down_exps.weight", (experts, hidden, ff), "Q5_0"),
            ("ffn_gate_shexp.weight", (2 * ff, hidden), "Q4_K"), ("ffn_up_shexp.weight", (2 * ff, hidden), "Q4_K"),
            ("ffn_down_shexp.weight", (hidden, 2 * ff), "Q6_K"),
        ]  # fmt: skip
        if not i:
            network = [
                ("ffn_gate.weight", (10944, hidden), "Q4_K"), ("ffn_up.weight", (10944, hidden), "Q4_K"),
                ("ffn_down.weight", (hidden, 10944), "Q8_0"),
            ]  # fmt: skip
        tensors += of_layer(
            i, *network,
            ("attn_norm.weight", (hidden,), "F32"), ("ffn_norm.weight", (hidden,), "F32"),
            ("attn_q_a.weight", (low, hidden), "Q4_K"), ("attn_q_a_norm.weight", (low,), "F32"),
            ("attn_q_b.weight", (heads * (nope + rope), low), "Q4_K"),
            ("attn_kv_a_mqa.weight", (rank + rope, hidden), "Q4_K"), ("attn_kv_a_norm.weight", (rank,), "F32"),
            ("attn_k_b.weight", (heads, rank, nope), "Q5_0"), ("attn_v_b.weight", (heads, value, rank), "Q4_K"),
            ("attn_output.weight", (hidden, heads * value), "Q4_K"),
        )  # fmt: skip
    tensors += [("output_norm.weight", (hidden,), "F32"), ("output.weight", (vocabulary, hidden), "Q6_K")]
    return Shape("deepseek2", vocabulary, 99757, {
        "block_count": layers, "context_length": 163840, "embedding_length": hidden, "feed_forward_length": 10944,
        "attention.head_count": heads, "attention.head_count_kv": 1, "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.q_lora_rank": low, "attention.kv_lora_rank": rank, "attention.key_length": rank + rope,
        "attention.value_length": rank,
        "attention.key_length_mla": nope + rope, "attention.value_length_mla": value, "rope.dimension_count": rope,
        "rope.freq_base": 10000.0, "leading_dense_block_count": 1, "expert_count": experts, "expert_used_count": 6,
        "expert_shared_count": 2, "expert_feed_forward_length": ff, "expert_weights_scale": 1.0,
        "expert_gating_func": 1, "vocab_size": vocabulary, "rope.scaling.type": "yarn", "rope.scaling.factor": 40.0,
        "rope.scaling.original_context_length": 4096, "rope.scaling.yarn_log_multiplier": 0.0707,
    }, tuple(tensors))  # fmt: skip


DECODED: Mapping[str, Callable[[], Shape]] = {
    "qwen2.5-0.5b-f16": qwen2_5_0_5b_f16,
    "qwen3-30b-a3b, 3 layers": qwen3_30b_a3b,
    "granite-4.0-h-350m": granite_4_h_350m,
    "lfm2-350m": lfm2_350m,
    "deepseek-v2-lite, 3 layers": deepseek_v2_lite,
}
