"""Qwen1.5, Qwen2, Qwen2.5, QwQ and models distilled into them.

Source: llama.cpp, conversion/qwen.py and src/models/qwen2.cpp; transformers, models/qwen2.
"""

from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

QWEN2 = Architecture(
    gguf="qwen2",
    model_type="qwen2",
    class_name="Qwen2ForCausalLM",
    head_dim="unusual",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_q.bias", "self_attn.q_proj.bias", "q"),
            Rule("attn_k.bias", "self_attn.k_proj.bias", "kv"),
            Rule("attn_v.bias", "self_attn.v_proj.bias", "kv"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "sliding_window": None,
        "use_cache": True,
        "use_sliding_window": False,
    },
)
