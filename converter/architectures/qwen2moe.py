"""Qwen1.5-MoE and Qwen2-57B-A14B: experts, and a shared expert with its own gate.

Source: llama.cpp, conversion/qwen.py and src/models/qwen2moe.cpp; transformers, models/qwen2_moe.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers

QWEN2MOE = Architecture(
    gguf="qwen2moe",
    model_type="qwen2_moe",
    class_name="Qwen2MoeForCausalLM",
    head_dim="unusual",
    tensors=(
        Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
            Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
            Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
            Rule("attn_q.bias", "self_attn.q_proj.bias", "q"),
            Rule("attn_k.bias", "self_attn.k_proj.bias", "kv"),
            Rule("attn_v.bias", "self_attn.v_proj.bias", "kv"),
            Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_gate_inp.weight", "mlp.gate.weight", "experts hidden"),
            Rule("ffn_gate_exps.weight", "mlp.experts.{e}.gate_proj.weight", "experts expert_ff hidden"),
            Rule("ffn_up_exps.weight", "mlp.experts.{e}.up_proj.weight", "experts expert_ff hidden"),
            Rule("ffn_down_exps.weight", "mlp.experts.{e}.down_proj.weight", "experts hidden expert_ff"),
            Rule("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", "1 hidden"),
            Rule("ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", "shared_ff hidden"),
            Rule("ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", "shared_ff hidden"),
            Rule("ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", "hidden shared_ff"),
        ),
        Rule("output_norm.weight", "model.norm.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden"),
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_weights_norm", kind=Kind.FLAG, default=False, only=(False,)),
        Key("expert_weights_scale", default=1.0, only=(0.0, 1.0)),
        Key("expert_gating_func", kind=Kind.INTEGER, default=1, only=(1,)),  # softmax
    ),
    sizes={
        "moe_intermediate_size": "expert_ff",
        "num_experts": "experts",
        "num_experts_per_tok": "experts_used",
        "shared_expert_intermediate_size": "shared_ff",
    },
    assumed={
        "attention_dropout": 0.0,
        "decoder_sparse_step": 1,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_only_layers": [],
        "norm_topk_prob": False,  # built into llama.cpp for this architecture
        "output_router_logits": False,
        "qkv_bias": True,
        "router_aux_loss_coef": 0.001,
        "sliding_window": None,
        "use_cache": True,
        "use_sliding_window": False,
    },
)
