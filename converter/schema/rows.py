"""Groups of rows that many families share: an architecture's table names the groups and adds its own rows.

Groups for layers are written for `in_layers`, without the prefixes of a layer's names.
"""

from __future__ import annotations

from dataclasses import replace

from llorch.converter.schema.architecture import PREDICTION, Key, Kind, Rule, in_layers
from llorch.converter.schema.operations import log_negative, rope_halves, subtract_one

EMBEDDING = (Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),)
FINAL_NORM = (Rule("output_norm.weight", "model.norm.weight", "hidden"),)
HEAD = (Rule("output.weight", "lm_head.weight", "vocab hidden", absent="tied to token_embd.weight"),)
ROPE_FREQS = (Rule("rope_freqs.weight", unused="config.json says it as rope_scaling"),)
ROPE_FACTORS = (
    Rule("rope_factors_long.weight", unused="config.json says it as rope_scaling"),
    Rule("rope_factors_short.weight", unused="config.json says it as rope_scaling"),
)

INPUT_NORM = (Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),)
FFN_NORM = (Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),)
# In files of models with no other norm after the attention, the norm before the feed-forward has this name.
FFN_NORM_NAMED_POST = (Rule("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),)

ATTENTION = (
    Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
    Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
    Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
    Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
)
# As llama.cpp's LlamaModel writes them: the members of a rotary pair of q and k are neighbours.
ATTENTION_IN_PAIRS = (
    Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden", rope_halves("head_dim")),
    Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden", rope_halves("head_dim")),
    Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
    Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
)
QKV_BIAS = (
    Rule("attn_q.bias", "self_attn.q_proj.bias", "q"),
    Rule("attn_k.bias", "self_attn.k_proj.bias", "kv"),
    Rule("attn_v.bias", "self_attn.v_proj.bias", "kv"),
)
OUTPUT_BIAS = (Rule("attn_output.bias", "self_attn.o_proj.bias", "hidden"),)
HEAD_NORMS = (
    Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "head_dim"),
    Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "head_dim"),
)
ROW_NORMS = (
    Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "q"),
    Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "kv"),
)

GATED_FFN = (
    Rule("ffn_gate.weight", "mlp.gate_proj.weight", "ff hidden"),
    Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
    Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
)
UNGATED_FFN = (
    Rule("ffn_up.weight", "mlp.up_proj.weight", "ff hidden"),
    Rule("ffn_down.weight", "mlp.down_proj.weight", "hidden ff"),
)
UNGATED_FFN_BIAS = (
    Rule("ffn_up.bias", "mlp.up_proj.bias", "ff"),
    Rule("ffn_down.bias", "mlp.down_proj.bias", "hidden"),
)
EXPERTS = (
    Rule("ffn_gate_inp.weight", "mlp.gate.weight", "experts hidden"),
    Rule("ffn_gate_exps.weight", "mlp.experts.{e}.gate_proj.weight", "experts expert_ff hidden"),
    Rule("ffn_up_exps.weight", "mlp.experts.{e}.up_proj.weight", "experts expert_ff hidden"),
    Rule("ffn_down_exps.weight", "mlp.experts.{e}.down_proj.weight", "experts hidden expert_ff"),
)
SHARED_EXPERT = (
    Rule("ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", "shared_ff hidden"),
    Rule("ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", "shared_ff hidden"),
    Rule("ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", "hidden shared_ff"),
)
SHARED_EXPERT_GATE = (Rule("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", "1 hidden"),)
# As DeepSeek has them: any number of shared experts in one network, without a gate.
SHARED_EXPERTS = (
    Rule("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight", "shared_ff hidden"),
    Rule("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", "shared_ff hidden"),
    Rule("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight", "hidden shared_ff"),
)
# Added to the scores only to choose experts; in transformers a float32 buffer whatever the model's dtype.
CHOICE_BIAS = (Rule("exp_probs_b.bias", "mlp.gate.e_score_correction_bias", "experts", dtype="F32"),)


def with_flag(rules: tuple[Rule, ...], flag: str) -> tuple[Rule, ...]:
    """Return the rules with a flag, a key of config.json that says whether their tensors are present."""
    return tuple(replace(rule, flag=flag) for rule in rules)


def may_be_absent(rules: tuple[Rule, ...], why: str) -> tuple[Rule, ...]:
    """Return the rules with the reason for which their tensors may be missing."""
    return tuple(replace(rule, absent=why) for rule in rules)


def rename(rules: tuple[Rule, ...], names: dict[str, str]) -> tuple[Rule, ...]:
    """Return the rules with parts of their targets' names replaced."""
    made = []
    for rule in rules:
        target = rule.target
        for old, new in names.items():
            target = target.replace(old, new)
        made.append(replace(rule, target=target))
    return tuple(made)


def without_one(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules of norms that GGUF stores with 1 added, for classes that compute 1 + weight."""
    return tuple(replace(rule, operation=subtract_one()) for rule in rules)


# The additional tensors of a prediction layer, which has the layer number after the model's own.
PREDICTION_AS_LAYER = (
    Rule("nextn.eh_proj.weight", "eh_proj.weight", "hidden 2*hidden"),
    Rule("nextn.enorm.weight", "enorm.weight", "hidden"),
    Rule("nextn.hnorm.weight", "hnorm.weight", "hidden"),
    Rule("nextn.embed_tokens.weight", "embed_tokens.weight", "vocab hidden", absent="the model's own serves"),
    Rule(
        "nextn.shared_head_head.weight",
        "shared_head.head.weight",
        "vocab hidden",
        absent="the model's own serves",
    ),
    Rule(
        "nextn.shared_head_norm.weight", "shared_head.norm.weight", "hidden", absent="the model's own serves"
    ),
)
# The same for Qwen3.5 and Qwen3-Next: outside the model's layers, one set for all further tokens.
PREDICTION_BESIDE = in_layers(
    Rule("nextn.eh_proj.weight", "mtp.fc.weight", "hidden 2*hidden"),
    *without_one(
        (
            Rule("nextn.enorm.weight", "mtp.pre_fc_norm_embedding.weight", "hidden"),
            Rule("nextn.hnorm.weight", "mtp.pre_fc_norm_hidden.weight", "hidden"),
            Rule("nextn.shared_head_norm.weight", "mtp.norm.weight", "hidden"),
        )
    ),
    of=PREDICTION,
    below="",
)
# q_proj has every head's query rows, and as many rows of a gate on the attention's output.
GATED_ATTENTION = (
    Rule("attn_q.weight", "self_attn.q_proj.weight", "2*q hidden"),
    Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
    Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
    Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
)
MAMBA2_WITHOUT_NORM = (
    Rule("ssm_in.weight", "in_proj.weight", "2*inner+2*ssm_groups*state+ssm_heads hidden"),
    Rule("ssm_conv1d.weight", "conv1d.weight", "inner+2*ssm_groups*state conv_kernel",
         becomes="inner+2*ssm_groups*state 1 conv_kernel"),
    Rule("ssm_conv1d.bias", "conv1d.bias", "inner+2*ssm_groups*state"),
    Rule("ssm_dt.bias", "dt_bias", "ssm_heads"),
    Rule("ssm_a", "A_log", "ssm_heads 1", log_negative(), becomes="ssm_heads"),
    Rule("ssm_d", "D", "ssm_heads 1", becomes="ssm_heads"),
    Rule("ssm_out.weight", "out_proj.weight", "hidden inner"),
)  # fmt: skip
MAMBA2_NORM = (Rule("ssm_norm.weight", "norm.weight", "ssm_groups group_inner", becomes="inner"),)
MAMBA2 = (*MAMBA2_WITHOUT_NORM, *MAMBA2_NORM)


def below(rules: tuple[Rule, ...], prefix: str) -> tuple[Rule, ...]:
    """Return the rules with a prefix before their targets' names."""
    return tuple(replace(rule, target=f"{prefix}{rule.target}") for rule in rules)


FFN_BIAS = (
    Rule("ffn_gate.bias", "mlp.gate_proj.bias", "ff"),
    Rule("ffn_up.bias", "mlp.up_proj.bias", "ff"),
    Rule("ffn_down.bias", "mlp.down_proj.bias", "hidden"),
)
POST_NORMS = (
    Rule("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    Rule("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden"),
)
FUSED_EXPERTS = (
    Rule("ffn_gate_inp.weight", "block_sparse_moe.router.layer.weight", "experts hidden"),
    Rule("ffn_gate_exps.weight", "block_sparse_moe.input_linear.weight", "experts expert_ff hidden"),
    Rule("ffn_up_exps.weight", "block_sparse_moe.input_linear.weight", "experts expert_ff hidden"),
    Rule("ffn_down_exps.weight", "block_sparse_moe.output_linear.weight", "experts hidden expert_ff"),
)

# Keys of DeepSeek's experts, with the names of its config.json.
WEIGHED_AND_SHARED = (
    Key("expert_weights_scale", "routed_scaling_factor", default=1.0, unset=0.0),
    Key("expert_shared_count", "n_shared_experts", Kind.INTEGER, default=1, least=1),
)
GROUPS = (
    Key("expert_group_count", "n_group", Kind.INTEGER, default=1, unset=0),
    Key("expert_group_used_count", "topk_group", Kind.INTEGER, default=1, unset=0),
)
FIRST_DENSE = (Key("leading_dense_block_count", "first_k_dense_replace", Kind.INTEGER, default=0),)
RENORMALISED = (Key("expert_weights_norm", "norm_topk_prob", Kind.FLAG, default=False),)
PREDICTION_COUNT = (Key("nextn_predict_layers", "num_nextn_predict_layers", Kind.INTEGER, default=0),)
