"""Qwen3-Next and Qwen3-Coder-Next: the layers that Qwen3.5 later had, with q, k, v and z fused by key head.

Source: llama.cpp, conversion/qwen.py and src/models/qwen3next.cpp; transformers, models/qwen3_next.
"""

from llorch.converter.architectures.qwen35 import FULL, LAYER_TYPES, MIXTURE, MTP, NORMS, QWEN35MOE
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import PREDICTION, Architecture, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import delta_net_sizes
from llorch.converter.schema.layer_kinds import linear_or_full
from llorch.converter.schema.operations import log_negative
from llorch.converter.schema.row_orders import by_key_head, values_by_key_head

QKVZ = "linear_attn.in_proj_qkvz.weight"

LINEAR = (
    Rule("attn_qkv.weight", QKVZ, "2*keys+values hidden", rows=by_key_head, becomes="2*keys+2*values hidden"),
    Rule("attn_gate.weight", QKVZ, "values hidden", rows=values_by_key_head),
    Rule("ssm_ba.weight", "linear_attn.in_proj_ba.weight", "2*value_heads hidden"),
    Rule("ssm_conv1d.weight", "linear_attn.conv1d.weight", "2*keys+values conv_kernel",
         becomes="2*keys+values 1 conv_kernel"),
    Rule("ssm_a", "linear_attn.A_log", "value_heads", log_negative()),
    Rule("ssm_dt.bias", "linear_attn.dt_bias", "value_heads"),
    Rule("ssm_norm.weight", "linear_attn.norm.weight", "value_dim"),
    Rule("ssm_out.weight", "linear_attn.out_proj.weight", "hidden values"),
)  # fmt: skip

QWEN3NEXT = Architecture(
    gguf="qwen3next",
    model_type="qwen3_next",
    class_name="Qwen3NextForCausalLM",
    rope=RopeLayout.PARTIAL,
    kinds=(linear_or_full,),
    block_sizes=(delta_net_sizes,),
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*NORMS, *MIXTURE),
        *in_layers(*LINEAR, of="linear"),
        *in_layers(*FULL, of="full"),
        *in_layers(*NORMS, *FULL, *MIXTURE, of=PREDICTION, below=MTP),
        *rows.PREDICTION_BESIDE,
        *rows.without_one(rows.FINAL_NORM),
        *rows.HEAD,
    ),
    keys=QWEN35MOE.keys,
    sizes=QWEN35MOE.sizes,
    derived={"layer_types": LAYER_TYPES},
    assumed={
        **QWEN35MOE.assumed,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
    },
)
