"""Phi-1, Phi-1.5 and Phi-2: one norm per block, attention and feed-forward in parallel, biases everywhere.

Source: llama.cpp, conversion/phi.py and src/models/phi2.cpp; transformers, models/phi.
"""

from llorch.converter.schema.architecture import Architecture, Key, RopeLayout, Rule, in_layers

PHI2 = Architecture(
    gguf="phi2",
    model_type="phi",
    class_name="PhiForCausalLM",
    head_dim="unusual",
    rope=RopeLayout.PARTIAL,
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
            Rule("attn_output.weight", "self_attn.dense.weight", "hidden q"),
            Rule("attn_output.bias", "self_attn.dense.bias", "hidden"),
            Rule("ffn_up.weight", "mlp.fc1.weight", "ff hidden"),
            Rule("ffn_up.bias", "mlp.fc1.bias", "ff"),
            Rule("ffn_down.weight", "mlp.fc2.weight", "hidden ff"),
            Rule("ffn_down.bias", "mlp.fc2.bias", "hidden"),
        ),
        Rule("output_norm.weight", "model.final_layernorm.weight", "hidden"),
        Rule("output_norm.bias", "model.final_layernorm.bias", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden"),
        Rule("output.bias", "lm_head.bias", "vocab"),
    ),
    keys=(Key("attention.layer_norm_epsilon", "layer_norm_eps", least=0),),
    assumed={
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "hidden_act": "gelu_new",
        "initializer_range": 0.02,
        "qk_layernorm": False,
        "resid_pdrop": 0.0,
        "use_cache": True,
    },
)
