"""Granite 3 with experts: Granite's four multipliers, all experts in two tensors.

Source: llama.cpp, conversion/granite.py and src/models/granite.cpp; transformers, models/granitemoe.
"""

from llorch.converter.architectures.granite import GRANITE
from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, in_layers

GRANITEMOE = Architecture(
    gguf="granitemoe",
    model_type="granitemoe",
    class_name="GraniteMoeForCausalLM",
    head_dim="never",
    tensors=(
        *rows.EMBEDDING,
        *in_layers(*rows.INPUT_NORM, *rows.ATTENTION_IN_PAIRS, *rows.FFN_NORM, *rows.FUSED_EXPERTS),
        *rows.FINAL_NORM,
        *rows.HEAD,
        *rows.ROPE_FREQS,
    ),
    keys=(*GRANITE.keys, Key("expert_gating_func", kind=Kind.INTEGER, default=1, unset=0, only=(1,))),
    sizes={
        "intermediate_size": "expert_ff",
        "num_experts_per_tok": "experts_used",
        "num_local_experts": "experts",
    },
    assumed={
        **GRANITE.assumed,
        "attention_bias": False,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
    },
)
