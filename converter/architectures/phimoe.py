"""Phi-3.5-MoE and Phi-mini-MoE: layer norms, biases, Mixtral's experts, chosen by a sparse mixer.

llama.cpp weights the chosen experts by a softmax over all, and its converter computes the scale of cosine and sine; the
original has a constant for it, which is assumed. The class of transformers 5.23 uses the short factors for long
sequences too; the original and our runtime do not. The class is found by model_type, so it can have the originals'
name, by which llama.cpp's converter, mistral.rs and vLLM find it.
Source: llama.cpp, conversion/phi.py and src/models/phimoe.cpp; transformers, models/phimoe.
"""

from llorch.converter.architectures.mixtral import EXPERTS
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.derived_values import same_as

MSCALE = 1.243163121016122  # of microsoft/Phi-3.5-MoE-instruct, for short sequences and for long ones

PHIMOE = Architecture(
    gguf="phimoe",
    model_type="phimoe",
    class_name="PhiMoEForCausalLM",
    head_dim="never",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
            *rows.ATTENTION,
            *rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "attention_bias"),
            *rows.FFN_NORM,
            Rule("ffn_norm.bias", "post_attention_layernorm.bias", "hidden"),
            *EXPERTS,
        ),
        *rows.FINAL_NORM,
        Rule("output_norm.bias", "model.norm.bias", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden"),
        Rule("output.bias", "lm_head.bias", "vocab", flag="lm_head_bias"),
        *rows.ROPE_FACTORS,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=None, none=0, least=0),
        Key(
            "rope.scaling.original_context_length",
            "original_max_position_embeddings",
            Kind.INTEGER,
            default=same_as("context"),
            least=1,
        ),
        Key("expert_used_count", kind=Kind.INTEGER, only=(2,)),  # built into the sparse mixer
    ),
    sizes={"num_local_experts": "experts", "num_experts_per_tok": "experts_used"},
    rope_constants={"long_mscale": MSCALE, "short_mscale": MSCALE},
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "input_jitter_noise": 0.01,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.0,
        "router_jitter_noise": 0.01,
        "use_cache": True,
    },
)
