"""Llama 1 to 3.3, TinyLlama, SmolLM2, Code Llama, Yi, DeepSeek 1, and every model with the same layers.

Source: llama.cpp, conversion/llama.py and src/models/llama.cpp; transformers, models/llama.
"""

from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers
from llorch.converter.schema.operations import rope_halves

LLAMA = Architecture(
    gguf="llama",
    model_type="llama",
    class_name="LlamaForCausalLM",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden", rope_halves("head_dim")),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden", rope_halves("head_dim")),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("attn_q.bias", "self_attn.q_proj.bias", "q", rope_halves("head_dim"), flag="attention_bias"),
            Rule(
                "attn_k.bias", "self_attn.k_proj.bias", "kv", rope_halves("head_dim"), flag="attention_bias"
            ),
            Rule("attn_v.bias", "self_attn.v_proj.bias", "kv", flag="attention_bias"),
            Rule("attn_output.bias", "self_attn.o_proj.bias", "hidden", flag="attention_bias"),
            Rule("attn_rot_embd.weight", unused="frequencies that follow from rope_theta"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
            Rule("ffn_gate.bias", "mlp.gate_proj.bias", "ff", flag="mlp_bias"),
            Rule("ffn_up.bias", "mlp.up_proj.bias", "ff", flag="mlp_bias"),
            Rule("ffn_down.bias", "mlp.down_proj.bias", "hidden", flag="mlp_bias"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
        Rule("rope_freqs.weight", unused="config.json says it as rope_scaling"),
        Rule("rope_factors_long.weight", unused="config.json says it as rope_scaling"),
        Rule("rope_factors_short.weight", unused="config.json says it as rope_scaling"),
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "use_cache": True,
    },
)
