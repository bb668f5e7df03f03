"""Phi-3, Phi-3.5-mini, Phi-4 and Phi-4-mini: fused q, k and v, and fused gate and up, in both formats.

Source: llama.cpp, conversion/phi.py and src/models/phi3.cpp; transformers, models/phi3.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.derived_values import same_as

PHI3 = Architecture(
    gguf="phi3",
    model_type="phi3",
    class_name="Phi3ForCausalLM",
    head_dim="unusual",
    rope=RopeLayout.PARTIAL,
    only_longrope=True,
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.qkv_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.qkv_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.qkv_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_up.weight", "mlp.gate_up_proj.weight", "2*ff hidden"),
            Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
        Rule("rope_factors_long.weight", unused="config.json says it as rope_scaling"),
        Rule("rope_factors_short.weight", unused="config.json says it as rope_scaling"),
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=None, none=0, least=0),
        Key(
            "rope.scaling.original_context_length",
            "original_max_position_embeddings",
            Kind.INTEGER,
            default=same_as("context"),
            least=1,
        ),
    ),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "resid_pdrop": 0.0,
        "use_cache": True,
    },
)
