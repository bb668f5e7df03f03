"""StarCoder2: LayerNorm and biases everywhere, no gate.

Source: llama.cpp, conversion/starcoder.py and src/models/starcoder2.cpp; transformers, models/starcoder2.
"""

from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

STARCODER2 = Architecture(
    gguf="starcoder2",
    model_type="starcoder2",
    class_name="Starcoder2ForCausalLM",
    head_dim="unusual",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_q.bias", "self_attn.q_proj.bias", "q"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_k.bias", "self_attn.k_proj.bias", "kv"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_v.bias", "self_attn.v_proj.bias", "kv"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("attn_output.bias", "self_attn.o_proj.bias", "hidden"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_norm.bias", "post_attention_layernorm.bias", "hidden"),
            Rule("ffn_up.weight", "mlp.c_fc.weight", "ff hidden"),
            Rule("ffn_up.bias", "mlp.c_fc.bias", "ff"),
            Rule("ffn_down.weight", "mlp.c_proj.weight", "hidden ff"),
            Rule("ffn_down.bias", "mlp.c_proj.bias", "hidden"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output_norm.bias", "model.norm.bias", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
    ),
    keys=(Key("attention.layer_norm_epsilon", "norm_epsilon", least=0),),
    assumed={
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "hidden_act": "gelu_pytorch_tanh",
        "initializer_range": 0.02,
        "residual_dropout": 0.0,
        "sliding_window": None,  # the released models had 4096; llama.cpp attends to everything
        "use_bias": True,
        "use_cache": True,
    },
)
