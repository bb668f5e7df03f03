"""GLM-4 of 2024, GLM-4-9B-Chat and GLM-Edge: two norms, half of each head rotated, in neighbouring pairs.

ChatGLM 3 has the same layers but a different kind of vocabulary.
Source: llama.cpp, conversion/chatglm.py and src/models/chatglm.cpp; transformers, models/glm.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, RopeLayout, Rule, in_layers

CHATGLM = Architecture(
    gguf="chatglm",
    model_type="glm",
    class_name="GlmForCausalLM",
    rope=RopeLayout.PARTIAL,
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *rows.with_flag(rows.QKV_BIAS, "attention_bias"),
            *rows.FFN_NORM,
            Rule("ffn_up.weight", "mlp.gate_up_proj.weight", "2*ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={"attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02, "use_cache": True},
)
