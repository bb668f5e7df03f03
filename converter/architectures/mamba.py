"""Mamba and Mamba 2: state space layers only, without attention and feed-forward networks.

Source: llama.cpp, conversion/mamba.py, src/models/mamba.cpp and mamba-base.cpp; transformers, models/mamba and
models/mamba2.
"""

from dataclasses import replace

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import mamba2_sizes, mamba_sizes
from llorch.converter.schema.conditions import norms_steps
from llorch.converter.schema.derived_values import expansion
from llorch.converter.schema.operations import log_negative

BELOW = "backbone.layers.{i}."
AROUND = (
    Rule("token_embd.weight", "backbone.embeddings.weight", "vocab hidden"),
    Rule("output_norm.weight", "backbone.norm_f.weight", "hidden"),
    *rows.HEAD,
)
NORM = (Rule("attn_norm.weight", "norm.weight", "hidden"),)
MIXER = (
    Rule("ssm_in.weight", "mixer.in_proj.weight", "2*inner hidden"),
    Rule("ssm_conv1d.weight", "mixer.conv1d.weight", "inner conv_kernel", becomes="inner 1 conv_kernel"),
    Rule("ssm_conv1d.bias", "mixer.conv1d.bias", "inner"),
    Rule("ssm_x.weight", "mixer.x_proj.weight", "step_rank+2*state inner"),
    Rule("ssm_dt.weight", "mixer.dt_proj.weight", "inner step_rank"),
    Rule("ssm_dt.bias", "mixer.dt_proj.bias", "inner"),
    Rule("ssm_a", "mixer.A_log", "inner state", log_negative()),
    Rule("ssm_d", "mixer.D", "inner"),
    Rule("ssm_out.weight", "mixer.out_proj.weight", "hidden inner"),
)
KEYS = (
    Key("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", least=0),
    Key("feed_forward_length", kind=Kind.INTEGER, default=0, only=(0,)),
)
ASSUMED = {
    "hidden_act": "silu",
    "initializer_range": 0.1,
    "rescale_prenorm_residual": False,
    "residual_in_fp32": True,
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
}

MAMBA = Architecture(
    gguf="mamba",
    model_type="mamba",
    class_name="MambaForCausalLM",
    attention=False,
    head_dim="never",
    rope=RopeLayout.NONE,
    block_sizes=(mamba_sizes,),
    tensors=(*AROUND, *in_layers(*NORM, *MIXER, below=BELOW)),
    keys=(*KEYS, Key("ssm.dt_b_c_rms", kind=Kind.FLAG, default=False, only=(False,))),
    sizes={
        "conv_kernel": "conv_kernel",
        "intermediate_size": "inner",
        "state_size": "state",
        "time_step_rank": "step_rank",
    },
    derived={"expand": expansion},
    assumed=ASSUMED,
)

FALCON_MAMBA = replace(
    MAMBA,
    when=norms_steps,
    model_type="falcon_mamba",
    class_name="FalconMambaForCausalLM",
    keys=(*KEYS, Key("ssm.dt_b_c_rms", kind=Kind.FLAG, only=(True,))),
    assumed={**ASSUMED, "mixer_rms_eps": 1e-6},
)

MAMBA2 = Architecture(
    gguf="mamba2",
    model_type="mamba2",
    class_name="Mamba2ForCausalLM",
    attention=False,
    head_dim="never",
    rope=RopeLayout.NONE,
    block_sizes=(mamba2_sizes,),
    tensors=(*AROUND, *in_layers(*NORM, *rows.below(rows.MAMBA2, "mixer."), below=BELOW)),
    keys=KEYS,
    sizes={
        "conv_kernel": "conv_kernel",
        "head_dim": "ssm_head_dim",
        "n_groups": "ssm_groups",
        "num_heads": "ssm_heads",
        "state_size": "state",
    },
    derived={"expand": expansion},
    assumed={**ASSUMED, "chunk_size": 256},
)
