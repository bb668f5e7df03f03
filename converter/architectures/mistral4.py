"""Mistral Small 4: latent attention, experts in two tensors, queries scaled by their position.

llama.cpp's converter does not write the temperature, so the published value is assumed.
Source: llama.cpp, conversion/mistral.py and src/models/mistral4.cpp; transformers, models/mistral4.
"""

from llorch.converter.architectures.deepseek import (
    APART,
    AROUND,
    KEYS,
    KINDS,
    LATENT,
    LOW_RANK,
    WHOLE,
)
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import latent_sizes
from llorch.converter.schema.derived_values import size_or_none

EXPERTS = (
    Rule("ffn_gate_inp.weight", "mlp.gate.weight", "experts hidden"),
    Rule("ffn_gate_exps.weight", "mlp.experts.gate_up_proj", "experts expert_ff hidden"),
    Rule("ffn_up_exps.weight", "mlp.experts.gate_up_proj", "experts expert_ff hidden"),
    Rule("ffn_down_exps.weight", "mlp.experts.down_proj", "experts hidden expert_ff"),
)

MISTRAL4 = Architecture(
    gguf="mistral4",
    model_type="mistral4",
    class_name="Mistral4ForCausalLM",
    latent_attention=True,
    log_multiplier=10.0,
    rope=RopeLayout.PARTIAL_OF_WHOLE,
    rope_constants={"llama_4_scaling_beta": 0.1},
    rope_sizes={"max_position_embeddings": "context"},
    kinds=KINDS,
    block_sizes=(latent_sizes,),
    tensors=(
        *AROUND,
        *in_layers(*rows.INPUT_NORM, *LATENT, *rows.FFN_NORM),
        *in_layers(*LOW_RANK, of="low rank queries"),
        *in_layers(*WHOLE, of="whole queries"),
        *in_layers(*APART, of="apart"),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(*EXPERTS, *rows.SHARED_EXPERTS, of="mixture"),
    ),
    keys=(*KEYS, *rows.FIRST_DENSE, *rows.RENORMALISED,
          Key("expert_gating_func", kind=Kind.INTEGER, default=1, unset=0, only=(1,))),  # softmax
    sizes={
        "head_dim": "qk_dim",
        "kv_lora_rank": "rank",
        "moe_intermediate_size": "expert_ff",
        "n_routed_experts": "experts",
        "num_experts_per_tok": "experts_used",
        "qk_head_dim": "qk_dim",
        "qk_nope_head_dim": "nope",
        "qk_rope_head_dim": "rope_dim",
        "v_head_dim": "v_dim",
    },
    derived={"q_lora_rank": size_or_none("q_rank")},
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "pretraining_tp": 1,
        "rope_interleave": True,
        "use_cache": True,
    },
)  # fmt: skip
