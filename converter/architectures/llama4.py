"""Llama 4 Scout and Maverick, the text model: experts with weighted inputs, no rotation in every fourth layer.

Both formats rotate interleaved pairs, so q and k are not permuted. What is built into llama.cpp is assumed: chunks of
8192 positions in the layers with rotation, and queries scaled by their position in the others.
Source: llama.cpp, conversion/llama.py, `Llama4Model`, and src/models/llama4.cpp; transformers, models/llama4.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Between, Key, Kind, Rule, in_layers
from llorch.converter.schema.derived_values import (
    layers_of_kind,
    no_rope_every_fourth,
    types_by_rotation,
    unless_so_many_experts,
)
from llorch.converter.schema.layer_kinds import dense_and_every_nth_mixture
from llorch.converter.schema.operations import transpose

BOTH = "experts hidden 2*expert_ff"
EXPERTS = (
    Rule("ffn_gate_inp.weight", "feed_forward.router.weight", "experts hidden"),
    Rule("ffn_gate_exps.weight", "feed_forward.experts.gate_up_proj", "experts expert_ff hidden",
         transpose("expert_ff", "hidden"), between=Between(2, "expert_ff"), becomes=BOTH),
    Rule("ffn_up_exps.weight", "feed_forward.experts.gate_up_proj", "experts expert_ff hidden",
         transpose("expert_ff", "hidden"), between=Between(2, "expert_ff"), becomes=BOTH),
    Rule("ffn_down_exps.weight", "feed_forward.experts.down_proj", "experts hidden expert_ff",
         transpose("hidden", "expert_ff"), becomes="experts expert_ff hidden"),
    Rule("ffn_gate_shexp.weight", "feed_forward.shared_expert.gate_proj.weight", "expert_ff hidden"),
    Rule("ffn_up_shexp.weight", "feed_forward.shared_expert.up_proj.weight", "expert_ff hidden"),
    Rule("ffn_down_shexp.weight", "feed_forward.shared_expert.down_proj.weight", "hidden expert_ff"),
)  # fmt: skip

LLAMA4 = Architecture(
    gguf="llama4",
    model_type="llama4_text",
    class_name="Llama4ForCausalLM",
    kinds=(dense_and_every_nth_mixture,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *rows.ATTENTION, *rows.FFN_NORM),
        *in_layers(*rows.rename(rows.GATED_FFN, {"mlp.": "feed_forward."}), of="dense"),
        *in_layers(*EXPERTS, of="mixture"),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("interleave_moe_layer_step", "interleave_moe_layer_step", Kind.INTEGER, least=1),
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        # 0 is MobileLLM, where all layers have rotation and full attention.
        Key("attention.sliding_window", kind=Kind.INTEGER, default=8192, only=(8192,)),
    ),
    rope_theta=500000.0,
    sizes={
        "intermediate_size": "expert_ff",
        "intermediate_size_mlp": "ff",
        "num_experts_per_tok": "experts_used",
        "num_local_experts": "experts",
    },
    derived={
        "layer_types": types_by_rotation,
        "moe_layers": layers_of_kind(dense_and_every_nth_mixture, "mixture"),
        "no_rope_layers": no_rope_every_fourth,
        "use_qk_norm": unless_so_many_experts(128),
    },
    assumed={
        "attention_bias": False,
        "attention_chunk_size": 8192,
        "attention_dropout": 0.0,
        "attn_scale": 0.1,
        "attn_temperature_tuning": True,
        "floor_scale": 8192,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "no_rope_layer_interval": 4,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "use_cache": True,
    },
)
