"""ERNIE 4.5, dense and with experts: a Llama whose rotary pairs are neighbours in both formats.

Source: llama.cpp, conversion/ernie.py and src/models/ernie4-5.cpp; transformers, models/ernie4_5 and
models/ernie4_5_moe.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.layer_kinds import dense_and_every_nth_mixture

BIASES = rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS, *rows.FFN_BIAS), "use_bias")
ATTENTION_BIASES = rows.with_flag((*rows.QKV_BIAS, *rows.OUTPUT_BIAS), "use_bias")
ASSUMED = {"hidden_act": "silu", "initializer_range": 0.02, "use_cache": True}

ERNIE4_5 = Architecture(
    gguf="ernie4_5",
    model_type="ernie4_5",
    class_name="Ernie4_5ForCausalLM",
    rope_theta=500000.0,
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *rows.ATTENTION, *BIASES, *rows.FFN_NORM, *rows.GATED_FFN),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed=ASSUMED,
)

ERNIE4_5_MOE = Architecture(
    gguf="ernie4_5-moe",
    model_type="ernie4_5_moe",
    class_name="Ernie4_5_MoeForCausalLM",
    head_dim="never",
    rope_theta=500000.0,
    kinds=(dense_and_every_nth_mixture,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *rows.ATTENTION, *ATTENTION_BIASES, *rows.FFN_NORM),
        *in_layers(*rows.GATED_FFN, of="dense"),
        *in_layers(
            *rows.EXPERTS,
            *rows.SHARED_EXPERTS,
            Rule("exp_probs_b.bias", "mlp.moe_statics.e_score_correction_bias", "experts",
                 becomes="1 experts", dtype="F32"),
            of="mixture",
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("expert_gating_func", kind=Kind.INTEGER, default=1, unset=0, only=(1,)),  # softmax
        Key("expert_weights_norm", kind=Kind.FLAG, default=True, only=(True,)),
        Key("expert_weights_scale", default=1.0, unset=0.0, only=(1.0,)),
        Key("expert_shared_count", "moe_num_shared_experts", Kind.INTEGER, default=0, least=0),
        Key("interleave_moe_layer_step", "moe_layer_interval", Kind.INTEGER, default=1, least=1),
        Key("leading_dense_block_count", "moe_layer_start_index", Kind.INTEGER, default=0, least=0),
    ),
    sizes={"moe_intermediate_size": "expert_ff", "moe_k": "experts_used", "moe_num_experts": "experts"},
    assumed={**ASSUMED, "moe_norm_min": 1e-12, "output_router_logits": False, "router_aux_loss_coef": 0.001},
)  # fmt: skip
