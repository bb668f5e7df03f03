"""GLM-4 of 2025, 9B and 32B, and GLM-Z1: four norms, half of each head rotated, in neighbouring pairs.

Source: llama.cpp, conversion/glm.py and src/models/glm4.cpp; transformers, models/glm4.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, RopeLayout, Rule, in_layers

GLM4 = Architecture(
    gguf="glm4",
    model_type="glm4",
    class_name="Glm4ForCausalLM",
    rope=RopeLayout.PARTIAL,
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.with_flag(rows.QKV_BIAS, "attention_bias"),
            Rule("post_attention_norm.weight", "post_self_attn_layernorm.weight", "hidden"),
            *rows.FFN_NORM,
            Rule("post_ffw_norm.weight", "post_mlp_layernorm.weight", "hidden"),
            Rule("ffn_up.weight", "mlp.gate_up_proj.weight", "2*ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={"attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02, "use_cache": True},
)
