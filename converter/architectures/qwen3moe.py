"""Qwen3 with experts, without shared ones: 30B-A3B, 235B-A22B.

Source: llama.cpp, conversion/qwen.py and src/models/qwen3moe.cpp; transformers, models/qwen3_moe.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers

QWEN3MOE = Architecture(
    gguf="qwen3moe",
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("attn_q.bias", "self_attn.q_proj.bias", "q", flag="attention_bias"),
            Rule("attn_k.bias", "self_attn.k_proj.bias", "kv", flag="attention_bias"),
            Rule("attn_v.bias", "self_attn.v_proj.bias", "kv", flag="attention_bias"),
            Rule("attn_output.bias", "self_attn.o_proj.bias", "hidden", flag="attention_bias"),
            Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "head_dim"),
            Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "head_dim"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_gate_inp.weight", "mlp.gate.weight", "experts hidden"),
            Rule("ffn_gate_exps.weight", "mlp.experts.{e}.gate_proj.weight", "experts expert_ff hidden"),
            Rule("ffn_up_exps.weight", "mlp.experts.{e}.up_proj.weight", "experts expert_ff hidden"),
            Rule("ffn_down_exps.weight", "mlp.experts.{e}.down_proj.weight", "experts hidden expert_ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_weights_norm", kind=Kind.FLAG, default=True, only=(True,)),
        Key("expert_weights_scale", default=1.0, only=(0.0, 1.0)),
        Key("expert_gating_func", kind=Kind.INTEGER, default=1, only=(1,)),  # softmax
    ),
    # transformers 4 and 5 read num_experts; 5 writes num_local_experts, which 4 does not know.
    sizes={
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
    },
    assumed={
        "attention_dropout": 0.0,
        "decoder_sparse_step": 1,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_only_layers": [],
        "norm_topk_prob": True,  # built into llama.cpp for this architecture
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "sliding_window": None,
        "use_cache": True,
        "use_sliding_window": False,
    },
)
