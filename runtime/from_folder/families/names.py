"""Tensor names and facts that several tables share."""

from __future__ import annotations

from llorch.runtime.from_folder.families.facts import Experts, Names

ATTENTION: Names = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "output": "self_attn.o_proj",
}

NORMS: Names = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
GATED: Names = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
HEAD_NORMS: Names = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}

EXPERTS: Names = {
    "router": "mlp.gate",
    "expert_gate": "mlp.experts.{e}.gate_proj",
    "expert_up": "mlp.experts.{e}.up_proj",
    "expert_down": "mlp.experts.{e}.down_proj",
}

MIXTRAL_EXPERTS: Names = {
    "router": "block_sparse_moe.gate",
    "expert_gate": "block_sparse_moe.experts.{e}.w1",
    "expert_up": "block_sparse_moe.experts.{e}.w3",
    "expert_down": "block_sparse_moe.experts.{e}.w2",
}

LLAMA: Names = {**ATTENTION, **NORMS, **GATED}

POST_NORMS: Names = {
    "attention_post_norm": "post_attention_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}

CHOICE_BIAS: Names = {"choice_bias": "=mlp.gate.e_score_correction_bias"}

SHARED_EXPERTS: Names = {
    "shared_gate": "mlp.shared_experts.gate_proj",
    "shared_up": "mlp.shared_experts.up_proj",
    "shared_down": "mlp.shared_experts.down_proj",
}

DEEPSEEK_EXPERTS = Experts(
    ("n_routed_experts",),
    "norm_topk_prob",
    "moe_intermediate_size",
    "moe_intermediate_size",
    "n_shared_experts",
    scores="sigmoid",
    scale="routed_scaling_factor",
    groups="n_group",
    groups_used="topk_group",
)
