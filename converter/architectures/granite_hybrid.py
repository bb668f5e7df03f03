"""Granite 4 hybrid, dense and with experts: Mamba 2, attention in some layers, a shared feed-forward network in all.

Source: llama.cpp, conversion/granite.py and src/models/granite-hybrid.cpp; transformers, models/granitemoehybrid.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.block_sizes import mamba2_sizes
from llorch.converter.schema.conditions import has_experts
from llorch.converter.schema.derived_values import (
    expansion,
    inverse_root_of_head_dim,
    layer_types,
    position_embedding,
    size,
)
from llorch.converter.schema.layer_kinds import attention_or

MAMBA_OR_ATTENTION = attention_or("mamba")

NORMS = (*rows.INPUT_NORM, *rows.FFN_NORM)
EXPERTS = (
    Rule("ffn_gate_inp.weight", "block_sparse_moe.router.layer.weight", "experts hidden"),
    Rule("ffn_gate_exps.weight", "block_sparse_moe.input_linear.weight", "experts expert_ff hidden"),
    Rule("ffn_up_exps.weight", "block_sparse_moe.input_linear.weight", "experts expert_ff hidden"),
    Rule("ffn_down_exps.weight", "block_sparse_moe.output_linear.weight", "experts hidden expert_ff"),
    Rule("ffn_gate_shexp.weight", "shared_mlp.input_linear.weight", "shared_ff hidden"),
    Rule("ffn_up_shexp.weight", "shared_mlp.input_linear.weight", "shared_ff hidden"),
    Rule("ffn_down_shexp.weight", "shared_mlp.output_linear.weight", "hidden shared_ff"),
)
DENSE = (
    Rule("ffn_gate.weight", "shared_mlp.input_linear.weight", "ff hidden"),
    Rule("ffn_up.weight", "shared_mlp.input_linear.weight", "ff hidden"),
    Rule("ffn_down.weight", "shared_mlp.output_linear.weight", "hidden ff"),
)
LAYERS = (
    *in_layers(*NORMS),
    *in_layers(*rows.ATTENTION_IN_PAIRS, of="attention"),
    *in_layers(*rows.below(rows.MAMBA2, "mamba."), of="mamba"),
)
SIZES = {
    "mamba_d_conv": "conv_kernel",
    "mamba_d_head": "ssm_head_dim",
    "mamba_d_state": "state",
    "mamba_n_groups": "ssm_groups",
    "mamba_n_heads": "ssm_heads",
}
KEYS = (
    Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
    Key("attention.scale", "attention_multiplier", default=inverse_root_of_head_dim, unset=0.0),
    Key("embedding_scale", "embedding_multiplier", default=1.0, unset=0.0),
    Key("residual_scale", "residual_multiplier", default=1.0, unset=0.0),
    Key("logit_scale", "logits_scaling"),  # a divisor in both formats
)
DERIVED = {
    "layer_types": layer_types(MAMBA_OR_ATTENTION, {"mamba": "mamba", "attention": "attention"}),
    "mamba_expand": expansion,
    "max_position_embeddings": size("context"),  # 2^20, which llama.cpp's converter makes up
    "position_embedding_type": position_embedding,
}
ASSUMED = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "mamba_chunk_size": 256,
    "mamba_conv_bias": True,
    "mamba_proj_bias": False,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "use_cache": True,
}

GRANITE_HYBRID = Architecture(
    gguf="granitehybrid",
    model_type="granitemoehybrid",
    class_name="GraniteMoeHybridForCausalLM",
    head_dim="never",
    kinds=(MAMBA_OR_ATTENTION,),
    block_sizes=(mamba2_sizes,),
    tensors=(*rows.EMBEDDING, *LAYERS, *in_layers(*DENSE), *rows.FINAL_NORM, *rows.HEAD),
    keys=KEYS,
    sizes={**SIZES, "shared_intermediate_size": "ff"},
    derived=DERIVED,
    assumed={**ASSUMED, "num_experts_per_tok": 0, "num_local_experts": 0},
)

GRANITE_HYBRID_MOE = Architecture(
    gguf="granitehybrid",
    model_type="granitemoehybrid",
    class_name="GraniteMoeHybridForCausalLM",
    when=has_experts,
    head_dim="never",
    kinds=(MAMBA_OR_ATTENTION,),
    block_sizes=(mamba2_sizes,),
    tensors=(*rows.EMBEDDING, *LAYERS, *in_layers(*EXPERTS), *rows.FINAL_NORM, *rows.HEAD),
    keys=(*KEYS, Key("expert_gating_func", kind=Kind.INTEGER, default=1, only=(1,))),
    sizes={
        **SIZES,
        "intermediate_size": "expert_ff",
        "num_experts_per_tok": "experts_used",
        "num_local_experts": "experts",
        "shared_intermediate_size": "shared_ff",
    },
    derived=DERIVED,
    assumed=ASSUMED,
)
