"""Gemma 1: norms stored with the 1 of (1 + weight) added, as in all Gemmas.

Source: llama.cpp, conversion/gemma.py and src/models/gemma.cpp; transformers, models/gemma.
"""

from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers
from llorch.converter.schema.operations import subtract_one

GEMMA = Architecture(
    gguf="gemma",
    model_type="gemma",
    class_name="GemmaForCausalLM",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden", subtract_one()),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden", subtract_one()),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden", subtract_one()),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "gelu_pytorch_tanh",
        "initializer_range": 0.02,
        "use_cache": True,
    },
)
