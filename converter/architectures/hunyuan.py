"""Hunyuan, dense from 0.5B to 7B and A13B with experts: q and k are normed after the rotation.

The text models of HunyuanOCR and HunyuanVL compute the same as the dense ones; the vision tower is in the mmproj file.
Source: llama.cpp, conversion/hunyuan.py, src/models/hunyuan-dense.cpp, hunyuan-moe.cpp and hunyuan-vl.cpp;
transformers, models/hunyuan_v1_dense, models/hunyuan_v1_moe and models/hunyuan_vl.
"""

from dataclasses import replace

from llorch.converter.architectures.qwen3vl import VISION_KEYS
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, Rule, in_layers
from llorch.converter.schema.derived_values import in_every_layer

HEAD_NORMS = rows.rename(rows.HEAD_NORMS, {"q_norm": "query_layernorm", "k_norm": "key_layernorm"})

HUNYUAN_DENSE = Architecture(
    gguf="hunyuan-dense",
    model_type="hunyuan_v1_dense",
    class_name="HunYuanDenseV1ForCausalLM",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *HEAD_NORMS,
            *rows.FFN_NORM,
            *rows.GATED_FFN,
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),),
    assumed={
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "use_cache": True,
        "use_qk_norm": True,  # without it mistral.rs leaves the norms out
    },
)

HUNYUAN_VL = replace(
    HUNYUAN_DENSE, gguf="hunyuan_vl", keys=(*HUNYUAN_DENSE.keys, *VISION_KEYS), rope_alpha=True
)

HUNYUAN_MOE = replace(
    HUNYUAN_DENSE,
    gguf="hunyuan-moe",
    model_type="hunyuan_v1_moe",
    class_name="HunYuanMoEV1ForCausalLM",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(
            *rows.INPUT_NORM,
            *rows.ATTENTION,
            *HEAD_NORMS,
            *rows.FFN_NORM,
            Rule("ffn_gate_inp.weight", "mlp.gate.wg.weight", "experts hidden"),
            # the class has one width for its experts and its shared expert
            Rule("ffn_gate_exps.weight", "mlp.experts.{e}.gate_proj.weight", "experts ff hidden"),
            Rule("ffn_up_exps.weight", "mlp.experts.{e}.up_proj.weight", "experts ff hidden"),
            Rule("ffn_down_exps.weight", "mlp.experts.{e}.down_proj.weight", "experts hidden ff"),
            Rule("ffn_gate_shexp.weight", "mlp.shared_mlp.gate_proj.weight", "ff hidden"),
            Rule("ffn_up_shexp.weight", "mlp.shared_mlp.up_proj.weight", "ff hidden"),
            Rule("ffn_down_shexp.weight", "mlp.shared_mlp.down_proj.weight", "hidden ff"),
        ),
        *rows.FINAL_NORM,
        *rows.HEAD,
    ),
    keys=(
        *HUNYUAN_DENSE.keys,
        Key("expert_shared_count", kind=Kind.INTEGER, default=1, only=(1,)),
        Key("expert_weights_scale", default=1.0, unset=0.0, only=(1.0,)),
    ),
    sizes={"num_experts": "experts"},
    derived={
        "moe_intermediate_size": in_every_layer("ff"),
        "moe_topk": in_every_layer("experts_used"),
        "num_shared_expert": in_every_layer(1),
    },
    assumed={
        **HUNYUAN_DENSE.assumed,
        "output_router_logits": False,
        "use_mixed_mlp_moe": True,  # without it mistral.rs leaves the shared expert out
    },
)
