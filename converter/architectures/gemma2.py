"""Gemma 2: four norms per block, soft-caps, a sliding window in every other layer.

The GGUF's `ffn_norm` is the norm before the feed-forward layer, not transformers' post_attention_layernorm.
Source: llama.cpp, conversion/gemma.py and src/models/gemma2.cpp; transformers, models/gemma2.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.derived_values import every_nth_full, query_scale_of
from llorch.converter.schema.operations import subtract_one

GEMMA2 = Architecture(
    gguf="gemma2",
    model_type="gemma2",
    class_name="Gemma2ForCausalLM",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden", subtract_one()),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
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
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=4096, least=1),
        Key("attn_logit_softcapping", "attn_logit_softcapping", default=50.0, none=0.0, least=0),
        Key("final_logit_softcapping", "final_logit_softcapping", default=30.0, none=0.0, least=0),
    ),
    derived={"layer_types": every_nth_full(2), "query_pre_attn_scalar": query_scale_of(layers_of_27b=46)},
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "initializer_range": 0.02,
        "use_cache": True,
    },
)
