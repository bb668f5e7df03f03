"""SmolLM3: a Llama without rotation in every fourth layer; all its q and k are permuted nevertheless.

Source: llama.cpp, conversion/smollm.py and src/models/smollm3.cpp; transformers, models/smollm3.
"""

from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers
from llorch.converter.schema.derived_values import no_rope_every_fourth
from llorch.converter.schema.operations import rope_halves

SMOLLM3 = Architecture(
    gguf="smollm3",
    model_type="smollm3",
    class_name="SmolLM3ForCausalLM",
    head_dim="unusual",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden", rope_halves("head_dim")),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden", rope_halves("head_dim")),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
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
    derived={"no_rope_layers": no_rope_every_fourth},
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "no_rope_layer_interval": 4,
        "sliding_window": None,
        "use_cache": True,
        "use_sliding_window": False,
    },
)
