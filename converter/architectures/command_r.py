"""Command-R, Command-R+ and Aya 23: one norm per block, attention and feed-forward in parallel.

Both formats rotate interleaved pairs, so q and k are not permuted.
Source: llama.cpp, conversion/command_r.py and src/models/command-r.cpp; transformers, models/cohere.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers

COMMAND_R = Architecture(
    gguf="command-r",
    model_type="cohere",
    class_name="CohereForCausalLM",
    head_dim="unusual",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "heads head_dim", flag="use_qk_norm"),
            Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "kv_heads head_dim", flag="use_qk_norm"),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
    ),
    keys=(
        Key("attention.layer_norm_epsilon", "layer_norm_eps", least=0),
        Key("logit_scale", "logit_scale", default=1.0, unset=0.0),
        Key("context_length", "model_max_length", Kind.INTEGER, least=1),
    ),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "use_cache": True,
    },
)
