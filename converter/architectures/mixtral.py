"""Mixtral 8x7B and 8x22B: the `llama` of GGUF with experts.

The names are those of transformers 4, which 5 and llama.cpp read too: w1 is the gate, w2 down, w3 up.
Source: llama.cpp, conversion/llama.py and src/models/llama.cpp; transformers, models/mixtral.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.conditions import has_experts
from llorch.converter.schema.operations import rope_halves

EXPERTS = (
    Rule("ffn_gate_inp.weight", "block_sparse_moe.gate.weight", "experts hidden"),
    Rule("ffn_gate_exps.weight", "block_sparse_moe.experts.{e}.w1.weight", "experts ff hidden"),
    Rule("ffn_down_exps.weight", "block_sparse_moe.experts.{e}.w2.weight", "experts hidden ff"),
    Rule("ffn_up_exps.weight", "block_sparse_moe.experts.{e}.w3.weight", "experts ff hidden"),
)

MIXTRAL = Architecture(
    gguf="llama",
    when=has_experts,
    model_type="mixtral",
    class_name="MixtralForCausalLM",
    head_dim="unusual",
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
            *EXPERTS,
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
        Rule("rope_freqs.weight", unused="config.json says it as rope_scaling"),
        Rule("rope_factors_long.weight", unused="config.json says it as rope_scaling"),
        Rule("rope_factors_short.weight", unused="config.json says it as rope_scaling"),
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, default=None, none=0, least=0),
    ),
    sizes={"num_local_experts": "experts", "num_experts_per_tok": "experts_used"},
    assumed={
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "use_cache": True,
    },
)
