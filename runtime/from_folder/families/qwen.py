"""How transformers reads Qwen: a row of facts per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_folder.families.facts import ClassFacts, Experts, Names, biases, class_defaults
from llorch.runtime.from_folder.families.names import ATTENTION, EXPERTS, GATED, HEAD_NORMS, LLAMA, NORMS

SHARED: Names = {
    "shared_router": "mlp.shared_expert_gate",
    "shared_gate": "mlp.shared_expert.gate_proj",
    "shared_up": "mlp.shared_expert.up_proj",
    "shared_down": "mlp.shared_expert.down_proj",
}

DELTA_NET: Names = {
    "conv": "linear_attn.conv1d",
    "a_log": "=linear_attn.A_log",
    "step_bias": "=linear_attn.dt_bias",
    "gated_norm": "linear_attn.norm",
    "mixer_output": "linear_attn.out_proj",
}

DELTA_NET_APART: Names = {
    **DELTA_NET,
    "delta_qkv": "linear_attn.in_proj_qkv",
    "delta_z": "linear_attn.in_proj_z",
    "delta_a": "linear_attn.in_proj_a",
    "delta_b": "linear_attn.in_proj_b",
}

DELTA_NET_BY_KEY_HEAD: Names = {
    **DELTA_NET,
    "delta_qkvz": "linear_attn.in_proj_qkvz",
    "delta_ba": "linear_attn.in_proj_ba",
}

ALL_SPARSE: Mapping[str, tuple[object, ...]] = {"decoder_sparse_step": (1,), "mlp_only_layers": (None, [])}
WINDOWS_OFF = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}

QWEN35: Any = {
    "mixers": "delta net or attention",
    "biases": biases("q k v output", "attention_bias"),
    "head_norm": "head",
    "norm_offset": 1.0,
    "output_gate": True,
    "partial_rotary": 0.25,
    "predicts": r"^mtp\.",
}

QWEN35_DEFAULTS = class_defaults(
    num_key_value_heads=2,
    head_dim=256,
    max_position_embeddings=32768,
    linear_conv_kernel_dim=4,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
)

FAMILIES: Mapping[str, ClassFacts] = {
    "qwen2": ClassFacts(
        class_name="Qwen2ForCausalLM",
        names=LLAMA,
        biases=biases("q k v", True),
        windows="layer types",
        window_switch="use_sliding_window",
        types="by depth",
        defaults=class_defaults(num_key_value_heads=32, max_position_embeddings=32768, **WINDOWS_OFF),
    ),
    "qwen2_moe": ClassFacts(
        class_name="Qwen2MoeForCausalLM",
        names={**ATTENTION, **NORMS, **EXPERTS, **SHARED},
        biases=biases("q k v", "qkv_bias"),
        experts=Experts(
            ("num_experts",), "norm_topk_prob", "moe_intermediate_size", "shared_expert_intermediate_size"
        ),
        windows="layer types",
        window_switch="use_sliding_window",
        types="alternating by depth",
        defaults=class_defaults(
            num_key_value_heads=16,
            max_position_embeddings=32768,
            qkv_bias=True,
            norm_topk_prob=False,
            num_experts=60,
            num_experts_per_tok=4,
            moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632,
            **WINDOWS_OFF,
        ),
        supported=ALL_SPARSE,
    ),
    "qwen3": ClassFacts(
        class_name="Qwen3ForCausalLM",
        names={**LLAMA, **HEAD_NORMS},
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        windows="layer types",
        window_switch="use_sliding_window",
        types="by depth",
        defaults=class_defaults(
            num_key_value_heads=32, head_dim=128, max_position_embeddings=32768, **WINDOWS_OFF
        ),
    ),
    "qwen3_moe": ClassFacts(
        class_name="Qwen3MoeForCausalLM",
        names={**ATTENTION, **NORMS, **HEAD_NORMS, **EXPERTS},
        biases=biases("q k v output", "attention_bias"),
        head_norm="head",
        experts=Experts(("num_experts", "num_local_experts"), "norm_topk_prob", "moe_intermediate_size"),
        windows="all layers",
        window_switch="use_sliding_window",
        defaults=class_defaults(
            num_key_value_heads=4,
            max_position_embeddings=32768,
            norm_topk_prob=False,
            num_experts=128,
            num_experts_per_tok=8,
            moe_intermediate_size=768,
            **WINDOWS_OFF,
        ),
        supported=ALL_SPARSE,
    ),
    "qwen3_5_text": ClassFacts(
        class_name="Qwen3_5ForCausalLM",
        names={**NORMS, **GATED},
        by_kind={"attention": {**ATTENTION, **HEAD_NORMS}, "delta net": DELTA_NET_APART},
        **QWEN35,
        defaults=QWEN35_DEFAULTS,
    ),
    "qwen3_5_moe_text": ClassFacts(
        class_name="Qwen3_5MoeForCausalLM",
        names={**NORMS, **EXPERTS, **SHARED},
        by_kind={"attention": {**ATTENTION, **HEAD_NORMS}, "delta net": DELTA_NET_APART},
        experts=Experts(("num_experts",), True, "moe_intermediate_size", "shared_expert_intermediate_size"),
        **QWEN35,
        defaults=QWEN35_DEFAULTS,
    ),
    "qwen3_next": ClassFacts(
        class_name="Qwen3NextForCausalLM",
        names={**NORMS, **EXPERTS, **SHARED},
        by_kind={"attention": {**ATTENTION, **HEAD_NORMS}, "delta net": DELTA_NET_BY_KEY_HEAD},
        experts=Experts(
            ("num_experts",), "norm_topk_prob", "moe_intermediate_size", "shared_expert_intermediate_size"
        ),
        **QWEN35,
        defaults=class_defaults(**{**QWEN35_DEFAULTS, "norm_topk_prob": True}),
        supported=ALL_SPARSE,
    ),
}
