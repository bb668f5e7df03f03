"""DeepSeek V2, V3, R1 and Kimi K2: latent attention, experts chosen by group; and GLM-4.7-Flash, which is built alike.

Source: llama.cpp, conversion/deepseek.py and src/models/deepseek2.cpp; transformers, models/deepseek_v2,
models/deepseek_v3 and models/glm4_moe_lite.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import PREDICTION, Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.block_sizes import latent_sizes
from llorch.converter.schema.conditions import is_glm_flash, scores_by_sigmoid
from llorch.converter.schema.derived_values import group_choice, layer_types, size, size_or_none
from llorch.converter.schema.layer_kinds import dense_then_mixture, latent_apart_or_joined, low_rank_or_whole
from llorch.converter.schema.operations import transpose

KV_B, KV_B_SHAPE = "self_attn.kv_b_proj.weight", "heads*nope+heads*v_dim rank"

LATENT = (
    Rule("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", "rank+rope_dim hidden"),
    Rule("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", "rank"),
    Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden v"),
)
LOW_RANK = (
    Rule("attn_q_a.weight", "self_attn.q_a_proj.weight", "q_rank hidden"),
    Rule("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", "q_rank"),
    Rule("attn_q_b.weight", "self_attn.q_b_proj.weight", "q q_rank"),
)
WHOLE = (Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),)
APART = (
    Rule("attn_k_b.weight", KV_B, "heads rank nope", transpose("rank", "nope"), becomes=KV_B_SHAPE),
    Rule("attn_v_b.weight", KV_B, "heads v_dim rank", becomes=KV_B_SHAPE),
)
JOINED = (Rule("attn_kv_b.weight", KV_B, KV_B_SHAPE),)
ATTENTION = (
    *in_layers(*rows.INPUT_NORM, *LATENT, *rows.FFN_NORM),
    *in_layers(*LOW_RANK, of="low rank queries"),
    *in_layers(*WHOLE, of="whole queries"),
    *in_layers(*APART, of="apart"),
    *in_layers(*JOINED, of="joined"),
    *in_layers(*rows.GATED_FFN, of="dense"),
    *in_layers(*rows.EXPERTS, *rows.SHARED_EXPERTS, of="mixture"),
)
AROUND = (*rows.EMBEDDING, *rows.FINAL_NORM, *rows.HEAD)
KINDS = (dense_then_mixture, low_rank_or_whole, latent_apart_or_joined)
SIZES = {
    "kv_lora_rank": "rank",
    "moe_intermediate_size": "expert_ff",
    "n_routed_experts": "experts",
    "num_experts_per_tok": "experts_used",
    "qk_nope_head_dim": "nope",
    "qk_rope_head_dim": "rope_dim",
    "v_head_dim": "v_dim",
}
KEYS = (
    Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
    *rows.WEIGHED_AND_SHARED,
    *rows.GROUPS,
)
ASSUMED = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "output_router_logits": False,
    "pretraining_tp": 1,
    "use_cache": True,
}

DEEPSEEK_V3 = Architecture(
    gguf="deepseek2",
    model_type="deepseek_v3",
    class_name="DeepseekV3ForCausalLM",
    when=scores_by_sigmoid,
    latent_attention=True,
    log_multiplier=10.0,
    kinds=KINDS,
    block_sizes=(latent_sizes,),
    tensors=(*AROUND, *ATTENTION, *in_layers(*rows.CHOICE_BIAS, of="mixture")),
    keys=(*KEYS, *rows.FIRST_DENSE, *rows.RENORMALISED,
          Key("expert_gating_func", kind=Kind.INTEGER, default=1, only=(2,))),  # sigmoid
    sizes={**SIZES, "qk_head_dim": "qk_dim"},
    derived={"q_lora_rank": size_or_none("q_rank")},
    assumed={**ASSUMED, "num_nextn_predict_layers": 0, "rope_interleave": True},
)  # fmt: skip

DEEPSEEK_V2 = Architecture(
    gguf="deepseek2",
    model_type="deepseek_v2",
    class_name="DeepseekV2ForCausalLM",
    latent_attention=True,
    log_multiplier=10.0,
    kinds=KINDS,
    block_sizes=(latent_sizes,),
    tensors=(*AROUND, *ATTENTION),
    keys=(*KEYS, *rows.FIRST_DENSE,
          Key("expert_weights_norm", "norm_topk_prob", Kind.FLAG, default=False, only=(False,)),
          Key("expert_gating_func", kind=Kind.INTEGER, default=1, unset=0, only=(1,))),  # softmax
    sizes=SIZES,
    derived={"q_lora_rank": size_or_none("q_rank"), "topk_method": group_choice},
    assumed={**ASSUMED, "mlp_bias": False},
)  # fmt: skip

GLM4_MOE_LITE = Architecture(
    gguf="deepseek2",
    model_type="glm4_moe_lite",
    class_name="Glm4MoeLiteForCausalLM",
    when=is_glm_flash,
    latent_attention=True,
    kinds=KINDS,
    block_sizes=(latent_sizes,),
    tensors=(
        *AROUND,
        *ATTENTION,
        *in_layers(*rows.CHOICE_BIAS, of="mixture"),
        *in_layers(
            *rows.INPUT_NORM,
            *LATENT,
            *LOW_RANK,
            *APART,
            *rows.FFN_NORM,
            *rows.EXPERTS,
            *rows.SHARED_EXPERTS,
            *rows.CHOICE_BIAS,
            *rows.PREDICTION_AS_LAYER,
            of=PREDICTION,
        ),
    ),
    keys=(*KEYS, *rows.RENORMALISED, *rows.PREDICTION_COUNT,
          Key("expert_gating_func", kind=Kind.INTEGER, default=2, unset=0, only=(2,))),  # missing in the first files
    sizes=SIZES,
    derived={
        "mlp_layer_types": layer_types(dense_then_mixture, {"dense": "dense", "mixture": "sparse"}),
        "q_lora_rank": size_or_none("q_rank"),
        "head_dim": size("rope_dim"),
    },
    assumed={**ASSUMED, "rope_interleave": True},
)  # fmt: skip
