"""Gemma 3, the text model: sliding windows in five of six layers, which have a rope base of their own.

Source: llama.cpp, conversion/gemma.py and src/models/gemma3.cpp; transformers, models/gemma3.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.derived_values import every_nth_full_of_windowed, query_scale_of
from llorch.converter.schema.operations import subtract_one

GEMMA3 = Architecture(
    gguf="gemma3",
    model_type="gemma3_text",
    class_name="Gemma3ForCausalLM",
    rope=RopeLayout.BY_LAYER_TYPE,
    rope_theta=1000000.0,
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden", subtract_one()),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "head_dim", subtract_one()),
            Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "head_dim", subtract_one()),
            Rule("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden", subtract_one()),
            Rule("ffn_norm.weight", "pre_feedforward_layernorm.weight", "hidden", subtract_one()),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
            Rule("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden", subtract_one()),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden", subtract_one()),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        # The class requires a window even if no layer slides; this is its default.
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=4096, unset=0, least=0),
        Key("final_logit_softcapping", "final_logit_softcapping", default=None, none=0.0, least=0),
    ),
    derived={
        "layer_types": every_nth_full_of_windowed(6),
        "query_pre_attn_scalar": query_scale_of(layers_of_27b=62),
    },
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "hidden_activation": "gelu_pytorch_tanh",
        "initializer_range": 0.02,
        "use_bidirectional_attention": False,
        "use_cache": True,
    },
)
