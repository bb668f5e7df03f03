"""How transformers reads attention with latent keys and values, as DeepSeek has it; a row of facts a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_folder.families.facts import ClassFacts, Experts, Names, class_defaults
from llorch.runtime.from_folder.families.names import (
    CHOICE_BIAS,
    DEEPSEEK_EXPERTS,
    EXPERTS,
    GATED,
    NORMS,
    SHARED_EXPERTS,
)

LATENT_QUERIES: Mapping[str, Names] = {
    "low rank queries": {
        "q_down": "self_attn.q_a_proj",
        "latent_q_norm": "self_attn.q_a_layernorm",
        "latent_q_up": "self_attn.q_b_proj",
    },
    "whole queries": {"latent_q": "self_attn.q_proj"},
}

LATENT_CLASS: Any = {
    "names": {
        **NORMS,
        "latent_down": "self_attn.kv_a_proj_with_mqa",
        "latent_norm": "self_attn.kv_a_layernorm",
        "latent_up": "self_attn.kv_b_proj",
        "latent_output": "self_attn.o_proj",
    },
    "mixers": "latent",
    "pairs": "interleaved",
}

FAMILIES: Mapping[str, ClassFacts] = {
    "deepseek_v3": ClassFacts(
        class_name="DeepseekV3ForCausalLM",
        ffns="first_k_dense_replace",
        experts=DEEPSEEK_EXPERTS,
        by_kind={**LATENT_QUERIES, "dense": GATED, "mixture": {**EXPERTS, **CHOICE_BIAS, **SHARED_EXPERTS}},
        **LATENT_CLASS,
        beyond="num_nextn_predict_layers",
        defaults=class_defaults(
            max_position_embeddings=4096,
            first_k_dense_replace=3,
            norm_topk_prob=True,
            n_group=8,
            topk_group=4,
            routed_scaling_factor=2.5,
            n_shared_experts=1,
            n_routed_experts=256,
            num_experts_per_tok=8,
            rope_interleave=True,
            kv_lora_rank=512,
            q_lora_rank=1536,
        ),
        supported={"rope_interleave": (True,), "attention_bias": (False, None)},
    ),
    "deepseek_v2": ClassFacts(
        class_name="DeepseekV2ForCausalLM",
        ffns="first_k_dense_replace",
        experts=Experts(
            ("n_routed_experts",),
            False,
            "moe_intermediate_size",
            "moe_intermediate_size",
            "n_shared_experts",
            scale="routed_scaling_factor",
            groups="n_group",
            groups_used="topk_group",
            group_worth="best",
        ),
        by_kind={**LATENT_QUERIES, "dense": GATED, "mixture": {**EXPERTS, **SHARED_EXPERTS}},
        **LATENT_CLASS,
        defaults=class_defaults(
            max_position_embeddings=2048,
            first_k_dense_replace=0,
            n_group=None,
            topk_group=None,
            routed_scaling_factor=1.0,
            n_shared_experts=2,
            n_routed_experts=64,
            kv_lora_rank=512,
            q_lora_rank=1536,
            topk_method="greedy",
        ),
        supported={"attention_bias": (False, None), "topk_method": ("greedy", "group_limited_greedy")},
    ),
    "glm4_moe_lite": ClassFacts(
        class_name="Glm4MoeLiteForCausalLM",
        ffns="mlp_layer_types",
        experts=DEEPSEEK_EXPERTS,
        by_kind={**LATENT_QUERIES, "dense": GATED, "mixture": {**EXPERTS, **CHOICE_BIAS, **SHARED_EXPERTS}},
        **LATENT_CLASS,
        beyond="num_nextn_predict_layers",
        defaults=class_defaults(
            max_position_embeddings=202752,
            rms_norm_eps=1e-5,
            norm_topk_prob=True,
            n_group=1,
            topk_group=1,
            routed_scaling_factor=1.8,
            n_shared_experts=1,
            n_routed_experts=64,
            num_experts_per_tok=4,
            rope_interleave=True,
            kv_lora_rank=512,
            q_lora_rank=768,
            num_nextn_predict_layers=0,
        ),
        supported={"rope_interleave": (True,), "attention_bias": (False, None)},
    ),
    "mistral4": ClassFacts(
        class_name="Mistral4ForCausalLM",
        ffns="first_k_dense_replace",
        experts=Experts(
            ("n_routed_experts",),
            "norm_topk_prob",
            "moe_intermediate_size",
            "moe_intermediate_size",
            "n_shared_experts",
            scale="routed_scaling_factor",
            groups="n_group",
            groups_used="topk_group",
        ),
        by_kind={
            **LATENT_QUERIES,
            "dense": GATED,
            "mixture": {
                "router": "mlp.gate",
                "experts_gate_up": "=mlp.experts.gate_up_proj",
                "experts_down": "=mlp.experts.down_proj",
                **SHARED_EXPERTS,
            },
        },
        **LATENT_CLASS,
        temperature=True,
        partial_rotary=1.0,
        defaults=class_defaults(
            max_position_embeddings=1048576,
            first_k_dense_replace=0,
            norm_topk_prob=True,
            n_group=1,
            topk_group=1,
            routed_scaling_factor=1.0,
            n_shared_experts=1,
            n_routed_experts=128,
            num_experts_per_tok=4,
            rope_interleave=True,
            kv_lora_rank=256,
            q_lora_rank=1024,
        ),
        supported={"rope_interleave": (True,), "attention_bias": (False, None)},
    ),
}
