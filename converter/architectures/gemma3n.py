"""Gemma 3n E2B and E4B, the text model: AltUp's parallel states, Laurel's bypass, sparse gates, per-layer embeddings.

Source: llama.cpp, conversion/gemma.py, `Gemma3NModel`, and src/models/gemma3n.cpp; transformers, models/gemma3n.
"""

from llorch.converter.architectures.gemma4 import LAYER_EMBEDDING, SHARED_KEYS
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import gemma3n_sizes, own_widths
from llorch.converter.schema.derived_values import every_nth_full, size, sparsity_shares, widths_by_layer
from llorch.converter.schema.layer_kinds import own_keys_or_shared

BLOCK = (
    *rows.INPUT_NORM,
    Rule("attn_q.weight", "self_attn.q_proj.weight", "q hidden"),
    Rule("attn_q_norm.weight", "self_attn.q_norm.weight", "head_dim"),
    Rule("attn_output.weight", "self_attn.o_proj.weight", "hidden q"),
    Rule("post_attention_norm.weight", "post_attention_layernorm.weight", "hidden"),
    Rule("ffn_norm.weight", "pre_feedforward_layernorm.weight", "hidden"),
    Rule("post_ffw_norm.weight", "post_feedforward_layernorm.weight", "hidden"),
    *rows.GATED_FFN,
    *LAYER_EMBEDDING,
    Rule("altup_router.weight", "altup.modality_router.weight", "streams hidden"),
    Rule("altup_router_norm.weight", "altup.router_norm.weight", "hidden"),
    Rule("altup_predict_coef.weight", "altup.prediction_coefs.weight", "streams*streams streams"),
    Rule("altup_correct_coef.weight", "altup.correction_coefs.weight", "streams streams"),
    Rule("altup_correct_scale.weight", "altup.correct_output_scale", "hidden"),
    Rule("laurel_l.weight", "laurel.linear_left.weight", "laurel_rank hidden"),
    Rule("laurel_r.weight", "laurel.linear_right.weight", "hidden laurel_rank"),
    Rule("laurel_post_norm.weight", "laurel.post_laurel_norm.weight", "hidden"),
)
OWN_KEYS = (
    Rule("attn_k.weight", "self_attn.k_proj.weight", "kv hidden"),
    Rule("attn_v.weight", "self_attn.v_proj.weight", "kv hidden"),
    Rule("attn_k_norm.weight", "self_attn.k_norm.weight", "head_dim"),
)

GEMMA3N = Architecture(
    gguf="gemma3n",
    model_type="gemma3n_text",
    class_name="Gemma3nForCausalLM",
    rope=RopeLayout.BY_LAYER_TYPE,
    rope_theta=1000000.0,
    kinds=(own_keys_or_shared,),
    block_sizes=(gemma3n_sizes,),
    layer_sizes=own_widths,
    tensors=(
        *rows.EMBEDDING,
        Rule("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight", "vocab layers*per_layer"),
        Rule("per_layer_model_proj.weight", "model.per_layer_model_projection.weight",
             "layers*per_layer hidden"),
        Rule("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight", "per_layer"),
        Rule("altup_proj.weight", "model.altup_projections.{s}.weight", "other_streams hidden hidden"),
        Rule("altup_unembd_proj.weight", "model.altup_unembed_projections.{s}.weight",
             "other_streams hidden hidden"),
        *in_layers(*BLOCK),
        *in_layers(*OWN_KEYS, of="own keys"),
        *in_layers(*SHARED_KEYS, of="shared keys"),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("final_logit_softcapping", "final_logit_softcapping", default=30.0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
        Key("altup.active_idx", "altup_active_idx", Kind.INTEGER, default=0, least=0),
        Key("attention.shared_kv_layers", "num_kv_shared_layers", Kind.INTEGER, default=0, least=0),
    ),
    sizes={
        "altup_num_inputs": "streams",
        "hidden_size_per_layer_input": "per_layer",
        "laurel_rank": "laurel_rank",
    },
    derived={
        "activation_sparsity_pattern": sparsity_shares,
        "intermediate_size": widths_by_layer,
        "layer_types": every_nth_full(5),
        "vocab_size_per_layer_input": size("vocab"),
    },
    assumed={
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "initializer_range": 0.02,
        "use_cache": True,
    },
)  # fmt: skip
