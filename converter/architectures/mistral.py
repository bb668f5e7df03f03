"""Mistral 7B, Mistral-Nemo and other dense Llamas that only Mistral's class can express (see `is_mistral`).

Source: llama.cpp, conversion/llama.py; transformers, models/mistral.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.conditions import is_mistral
from llorch.converter.schema.operations import rope_halves

MISTRAL = Architecture(
    gguf="llama",
    when=is_mistral,
    model_type="mistral",
    class_name="MistralForCausalLM",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden", rope_halves("head_dim")),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden", rope_halves("head_dim")),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("attn_rot_embd.weight", unused="frequencies that follow from rope_theta"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
        Rule("rope_freqs.weight", unused="config.json says it as rope_scaling"),
        Rule("rope_factors_long.weight", unused="config.json says it as rope_scaling"),
        Rule("rope_factors_short.weight", unused="config.json says it as rope_scaling"),
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        # The class's default is 4096, which only Mistral 7B v0.1 had; llama.cpp attends to everything.
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=None, none=0, least=0),
    ),
    assumed={"attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02, "use_cache": True},
)
