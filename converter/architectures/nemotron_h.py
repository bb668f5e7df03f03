"""Nemotron-H and Nemotron 3 Nano: each layer is one of Mamba 2, attention without rotation, or feed-forward.

Source: llama.cpp, conversion/nemotron.py and src/models/nemotron-h.cpp; transformers, models/nemotron_h.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import mamba2_sizes
from llorch.converter.schema.derived_values import expansion, layer_types, size
from llorch.converter.schema.layer_kinds import one_mixer_each

BELOW = "backbone.layers.{i}."
NAMES = {"self_attn.": "mixer.", "mlp.": "mixer."}

NORM = (Rule("attn_norm.weight", "norm.weight", "hidden"),)
UNGATED = (
    Rule("ffn_up.weight", "mixer.up_proj.weight", "ff hidden"),
    Rule("ffn_down.weight", "mixer.down_proj.weight", "hidden ff"),
)
EXPERTS = (
    Rule("ffn_gate_inp.weight", "mixer.gate.weight", "experts hidden"),
    Rule("ffn_up_exps.weight", "mixer.experts.{e}.up_proj.weight", "experts expert_ff hidden"),
    Rule("ffn_down_exps.weight", "mixer.experts.{e}.down_proj.weight", "experts hidden expert_ff"),
    Rule("ffn_up_shexp.weight", "mixer.shared_experts.up_proj.weight", "shared_ff hidden"),
    Rule("ffn_down_shexp.weight", "mixer.shared_experts.down_proj.weight", "hidden shared_ff"),
)
TENSORS = (
    Rule("token_embd.weight", "backbone.embeddings.weight", "vocab hidden"),
    *in_layers(*NORM, below=BELOW),
    *in_layers(*rows.rename(rows.ATTENTION_IN_PAIRS, NAMES), of="attention", below=BELOW),
    *in_layers(*rows.below(rows.MAMBA2, "mixer."), of="mamba", below=BELOW),
    Rule("output_norm.weight", "backbone.norm_f.weight", "hidden"),
    *rows.HEAD,
)
KEYS = (
    Key("attention.layer_norm_epsilon", "layer_norm_epsilon", least=0),
    Key("attention.layer_norm_rms_epsilon", default=None),  # newer files have the epsilon twice
    Key("rope.scaling.finetuned", kind=Kind.FLAG, default=False, only=(False,)),
)
SIZES = {
    "conv_kernel": "conv_kernel",
    "mamba_head_dim": "ssm_head_dim",
    "mamba_num_heads": "ssm_heads",
    "n_groups": "ssm_groups",
    "ssm_state_size": "state",
}
ASSUMED = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "chunk_size": 128,
    "hidden_dropout": 0.0,
    "initializer_range": 0.02,
    "mamba_hidden_act": "silu",
    "mamba_proj_bias": False,
    "mamba_ssm_cache_dtype": "float32",
    "mlp_bias": False,
    "mlp_hidden_act": "relu2",
    "residual_in_fp32": False,
    "time_step_min": 0.001,  # the default of transformers' class, a lower limit of steps
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
}
NAMED = {"attention": "full_attention", "mamba": "linear_attention"}

NEMOTRON_H = Architecture(
    gguf="nemotron_h",
    model_type="nemotron_h",
    class_name="NemotronHForCausalLM",
    rope=RopeLayout.NONE,
    kinds=(one_mixer_each,),
    block_sizes=(mamba2_sizes,),
    tensors=(*TENSORS, *in_layers(*UNGATED, of="ffn", below=BELOW)),
    keys=KEYS,
    sizes=SIZES,
    derived={
        "expand": expansion,
        "layers_block_type": layer_types(one_mixer_each, {**NAMED, "ffn": "mlp"}),
        "max_position_embeddings": size("context"),  # 2^20, which llama.cpp's converter makes up
    },
    assumed=ASSUMED,
)

NEMOTRON_H_MOE = Architecture(
    gguf="nemotron_h_moe",
    model_type="nemotron_h",
    class_name="NemotronHForCausalLM",
    rope=RopeLayout.NONE,
    kinds=(one_mixer_each,),
    block_sizes=(mamba2_sizes,),
    tensors=(
        *TENSORS,
        *in_layers(*EXPERTS, *rows.rename(rows.CHOICE_BIAS, NAMES), of="ffn", below=BELOW),
    ),
    keys=(
        *KEYS,
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        Key("expert_weights_norm", "norm_topk_prob", Kind.FLAG, default=True),
        Key("expert_weights_scale", "routed_scaling_factor", default=1.0, unset=0.0),
        Key("expert_shared_count", "n_shared_experts", Kind.INTEGER, default=1, least=1),
        Key("expert_group_count", "n_group", Kind.INTEGER, default=1, unset=0),
        Key("expert_group_used_count", "topk_group", Kind.INTEGER, default=1, unset=0),
    ),
    sizes={
        **SIZES,
        "moe_intermediate_size": "expert_ff",
        "moe_shared_expert_intermediate_size": "shared_ff",
        "n_routed_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={
        "expand": expansion,
        "layers_block_type": layer_types(one_mixer_each, {**NAMED, "ffn": "moe"}),
        "max_position_embeddings": size("context"),
    },
    assumed={
        **ASSUMED,
        "moe_latent_size": None,
        "moe_shared_expert_overlap": True,
        "output_router_logits": False,
    },
)
