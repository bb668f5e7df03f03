"""LFM2 and LFM2.5, dense and with experts: short convolutions, and attention in some layers.

Source: llama.cpp, conversion/lfm2.py and src/models/lfm2.cpp; transformers, models/lfm2 and models/lfm2_moe.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.block_sizes import short_conv_sizes
from llorch.converter.schema.derived_values import layer_types, size
from llorch.converter.schema.layer_kinds import attention_or, dense_then_mixture

CONV_OR_ATTENTION = attention_or("conv")

NORMS = (
    Rule("attn_norm.weight", "operator_norm.weight", "hidden"),
    Rule("ffn_norm.weight", "ffn_norm.weight", "hidden"),
)
ATTENTION = rows.rename(
    (*rows.ATTENTION, *rows.HEAD_NORMS),
    {"o_proj": "out_proj", "q_norm": "q_layernorm", "k_norm": "k_layernorm"},
)
CONVOLUTION = (
    Rule("shortconv.in_proj.weight", "conv.in_proj.weight", "3*hidden hidden"),
    Rule("shortconv.conv.weight", "conv.conv.weight", "hidden conv_kernel", becomes="hidden 1 conv_kernel"),
    Rule("shortconv.out_proj.weight", "conv.out_proj.weight", "hidden hidden"),
)
NAMES = {
    "mlp.gate.e_score_correction_bias": "feed_forward.expert_bias",
    "mlp.": "feed_forward.",
    "gate_proj": "w1",
    "up_proj": "w3",
    "down_proj": "w2",
}
FINAL_NORM = (Rule("token_embd_norm.weight", "model.embedding_norm.weight", "hidden"),)  # despite its name

KEYS = (
    Key("attention.layer_norm_rms_epsilon", "norm_eps", least=0),
    Key("attention.sliding_window", kind=Kind.INTEGER, default=0, only=(0,)),
)
LAYER_TYPES = layer_types(CONV_OR_ATTENTION, {"conv": "conv", "attention": "full_attention"})
ASSUMED = {"conv_bias": False, "initializer_range": 0.02, "use_cache": True}

LFM2 = Architecture(
    gguf="lfm2",
    model_type="lfm2",
    class_name="Lfm2ForCausalLM",
    head_dim="never",
    rope_theta=1000000.0,
    kinds=(CONV_OR_ATTENTION,),
    block_sizes=(short_conv_sizes,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*NORMS, *rows.rename(rows.GATED_FFN, NAMES)),
        *in_layers(*ATTENTION, of="attention"),
        *in_layers(*CONVOLUTION, of="conv"),
        *FINAL_NORM,
        *rows.HEAD,
    ),
    keys=KEYS,
    sizes={"conv_L_cache": "conv_kernel"},
    derived={"block_dim": size("hidden"), "block_ff_dim": size("ff"), "layer_types": LAYER_TYPES},
    assumed={
        **ASSUMED,
        "block_auto_adjust_ff_dim": False,  # the file's width is already adjusted
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
    },
)

LFM2MOE = Architecture(
    gguf="lfm2moe",
    model_type="lfm2_moe",
    class_name="Lfm2MoeForCausalLM",
    head_dim="never",
    rope_theta=1000000.0,
    kinds=(CONV_OR_ATTENTION, dense_then_mixture),
    block_sizes=(short_conv_sizes,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*NORMS),
        *in_layers(*ATTENTION, of="attention"),
        *in_layers(*CONVOLUTION, of="conv"),
        *in_layers(*rows.rename(rows.GATED_FFN, NAMES), of="dense"),
        *in_layers(*rows.rename((*rows.EXPERTS, *rows.CHOICE_BIAS), NAMES), of="mixture"),
        *FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        *KEYS,
        Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,)),  # sigmoid
        Key("expert_weights_norm", kind=Kind.FLAG, default=True, only=(True,)),
        Key("expert_weights_scale", default=1.0, unset=0.0, only=(1.0,)),
        Key("leading_dense_block_count", "num_dense_layers", Kind.INTEGER, default=0),
    ),
    sizes={
        "conv_L_cache": "conv_kernel",
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    derived={"layer_types": LAYER_TYPES},
    assumed={
        **ASSUMED,
        "norm_topk_prob": True,
        "output_router_logits": False,
        "routed_scaling_factor": 1.0,
        "use_expert_bias": True,
    },
)
