"""OLMo 2: norms after attention and feed-forward instead of before, and over all heads of q and k at once.

Source: llama.cpp, conversion/olmo.py and src/models/olmo2.cpp; transformers, models/olmo2.
"""

from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

OLMO2 = Architecture(
    gguf="olmo2",
    model_type="olmo2",
    class_name="Olmo2ForCausalLM",
    head_dim="unusual",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "q"),
            Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "kv"),
            Rule("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
            Rule("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden"),
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "use_cache": True,
    },
)
