"""StableLM 3B, StableLM 2 1.6B and 12B; the last has attention and feed-forward in parallel, and norms per head.

Source: llama.cpp, conversion/stablelm.py and src/models/stablelm.cpp; transformers, models/stablelm.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers

STABLELM = Architecture(
    gguf="stablelm",
    model_type="stablelm",
    class_name="StableLmForCausalLM",
    head_dim="never",
    rope=RopeLayout.PARTIAL,
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_q.bias", "self_attn.q_proj.bias", "q", flag="use_qkv_bias"),
            Rule("attn_k.bias", "self_attn.k_proj.bias", "kv", flag="use_qkv_bias"),
            Rule("attn_v.bias", "self_attn.v_proj.bias", "kv", flag="use_qkv_bias"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule(
                "attn_q_norm.weight",
                "self_attn.q_layernorm.norms.{h}.weight",
                "heads head_dim",
                flag="qk_layernorm",
            ),
            Rule(
                "attn_k_norm.weight",
                "self_attn.k_layernorm.norms.{h}.weight",
                "kv_heads head_dim",
                flag="qk_layernorm",
            ),
            Rule(
                "ffn_norm.weight",
                "post_attention_layernorm.weight",
                "hidden",
                flag="not_use_parallel_residual",
            ),
            Rule(
                "ffn_norm.bias", "post_attention_layernorm.bias", "hidden", flag="not_use_parallel_residual"
            ),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output_norm.bias", "model.norm.bias", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden"),
    ),
    keys=(
        Key("attention.layer_norm_epsilon", "layer_norm_eps", least=0),
        # True also for sequential models whose original config lacked the key: as llama.cpp, we go by ffn_norm.
        Key("use_parallel_residual", kind=Kind.FLAG, default=None),
    ),
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
    },
)
