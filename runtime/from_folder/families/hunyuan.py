"""How transformers reads Hunyuan, dense, with experts, and the third generation: a row of facts per class."""

from __future__ import annotations

from collections.abc import Mapping

from llorch.runtime.from_folder.families.facts import ClassFacts, Experts, biases, class_defaults
from llorch.runtime.from_folder.families.names import (
    ATTENTION,
    EXPERTS,
    GATED,
    HEAD_NORMS,
    LLAMA,
    NORMS,
    SHARED_EXPERTS,
)

FAMILIES: Mapping[str, ClassFacts] = {
    "hunyuan_v1_dense": ClassFacts(
        class_name="HunYuanDenseV1ForCausalLM",
        names={**LLAMA, "q_norm": "self_attn.query_layernorm", "k_norm": "self_attn.key_layernorm"},
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        head_norm_after_rope=True,
        defaults=class_defaults(max_position_embeddings=2048, rms_norm_eps=1e-5),
    ),
    "hunyuan_v1_moe": ClassFacts(
        class_name="HunYuanMoEV1ForCausalLM",
        names={
            **ATTENTION,
            **NORMS,
            **EXPERTS,
            "router": "mlp.gate.wg",
            "shared_gate": "mlp.shared_mlp.gate_proj",
            "shared_up": "mlp.shared_mlp.up_proj",
            "shared_down": "mlp.shared_mlp.down_proj",
            "q_norm": "self_attn.query_layernorm",
            "k_norm": "self_attn.key_layernorm",
        },
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        head_norm_after_rope=True,
        experts=Experts(
            ("num_experts", "num_local_experts"),
            True,
            "intermediate_size",
            "intermediate_size",
            used="moe_topk",
        ),
        defaults=class_defaults(max_position_embeddings=2048, rms_norm_eps=1e-5, moe_topk=1),
    ),
    "hy_v3": ClassFacts(
        class_name="HYV3ForCausalLM",
        names={**ATTENTION, **NORMS, **HEAD_NORMS},
        by_kind={
            "dense": GATED,
            "mixture": {
                **EXPERTS,
                **{
                    role: name.replace("shared_experts", "shared_mlp")
                    for role, name in SHARED_EXPERTS.items()
                },
                "router": "mlp.router.gate",
                "choice_bias": "=mlp.expert_bias",
            },
        },
        ffns="mlp_layer_types",
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        experts=Experts(
            ("num_experts", "num_local_experts"),
            True,
            "moe_intermediate_size",
            "moe_intermediate_size",
            "num_shared_experts",
            scores="sigmoid",
            scale="router_scaling_factor",
        ),
        beyond="num_nextn_predict_layers",
        defaults=class_defaults(
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            rope_theta=11158840.0,
            num_experts=192,
            num_experts_per_tok=8,
            num_shared_experts=1,
            moe_intermediate_size=1536,
            router_scaling_factor=2.826,
            first_k_dense_replace=1,
        ),
        supported={"mlp_bias": (False,)},
    ),
}
