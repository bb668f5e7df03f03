"""How transformers reads Granite, dense or with experts, with or without windows: a row of facts per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch.runtime.from_folder.families.facts import ClassFacts, Experts, biases, class_defaults
from llorch.runtime.from_folder.families.names import ATTENTION, LLAMA, NORMS

MULTIPLIED: dict[str, Any] = {
    "attention_multiplier": "attention_multiplier",
    "embedding_multiplier": "embedding_multiplier",
    "residual_multiplier": "residual_multiplier",
    "logit_divisor": "logits_scaling",
}
MULTIPLIERS = {
    "attention_multiplier": 1.0,
    "embedding_multiplier": 1.0,
    "residual_multiplier": 1.0,
    "logits_scaling": 1.0,
}
WITH_WINDOWS: dict[str, Any] = {
    "sinks": True,
    "windows": "layer types",
    "types": "full first",
    "layer_bases": "layer_rope_theta",
}

FAMILIES: Mapping[str, ClassFacts] = {
    "granite": ClassFacts(
        class_name="GraniteForCausalLM",
        names=LLAMA,
        biases={**biases("q k v output", "attention_bias"), **biases("gate up down", "mlp_bias")},
        **MULTIPLIED,
        defaults=class_defaults(
            max_position_embeddings=2048,
            **MULTIPLIERS,
        ),
    ),
    "granitemoe": ClassFacts(
        class_name="GraniteMoeForCausalLM",
        names={
            **ATTENTION,
            **NORMS,
            "router": "block_sparse_moe.router.layer",
            "experts_gate_up": "block_sparse_moe.input_linear",
            "experts_down": "block_sparse_moe.output_linear",
        },
        biases=biases("q k v output", "attention_bias"),
        experts=Experts(("num_local_experts",), True, "intermediate_size"),
        **MULTIPLIED,
        defaults=class_defaults(
            max_position_embeddings=2048,
            **MULTIPLIERS,
            num_local_experts=8,
            num_experts_per_tok=2,
        ),
    ),
    "granite_swa": ClassFacts(
        class_name="GraniteSWAForCausalLM",
        names={**LLAMA, "sinks": "=self_attn.sinks"},
        biases={**biases("q k v output", "attention_bias"), **biases("gate up down", "mlp_bias")},
        **MULTIPLIED,
        **WITH_WINDOWS,
        defaults=class_defaults(
            **MULTIPLIERS,
            sliding_window=128,
            num_key_value_heads=4,
            max_position_embeddings=8192,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
        ),
    ),
    "granitemoe_swa": ClassFacts(
        class_name="GraniteMoeSWAForCausalLM",
        names={
            **ATTENTION,
            **NORMS,
            "sinks": "=self_attn.sinks",
            "router": "block_sparse_moe.router",
            "experts_gate_up": "=block_sparse_moe.experts.gate_up_proj",
            "experts_down": "=block_sparse_moe.experts.down_proj",
        },
        by_kind={
            "shared experts": {
                "shared_gate_up": "shared_mlp.input_linear",
                "shared_down": "shared_mlp.output_linear",
            }
        },
        biases=biases("q k v output", "attention_bias"),
        experts=Experts(("num_local_experts",), True, "intermediate_size", "shared_intermediate_size"),
        **MULTIPLIED,
        **WITH_WINDOWS,
        defaults=class_defaults(
            **MULTIPLIERS,
            sliding_window=128,
            max_position_embeddings=2048,
            num_local_experts=8,
            num_experts_per_tok=2,
            shared_intermediate_size=1024,
        ),
    ),
}
