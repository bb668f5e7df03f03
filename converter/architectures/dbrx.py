"""DBRX: a mixture of experts in every layer, layer norms without biases, clipped q, k and v.

Source: llama.cpp, conversion/dbrx.py and src/models/dbrx.cpp; transformers, models/dbrx.
"""

from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers
from llorch.converter.schema.derived_values import dbrx_attention, dbrx_experts
from llorch.converter.schema.operations import transpose

QKV, ALL_EXPERTS = "norm_attn_norm.attn.Wqkv.weight", "experts*ff hidden"

DBRX = Architecture(
    gguf="dbrx",
    model_type="dbrx",
    class_name="DbrxForCausalLM",
    head_dim="never",
    tensors=(
        Rule("token_embd.weight", "transformer.wte.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "norm_attn_norm.norm_1.weight", "hidden"),
            Rule("attn_q.weight", QKV, "q hidden"),
            Rule("attn_k.weight", QKV, "kv hidden"),
            Rule("attn_v.weight", QKV, "kv hidden"),
            Rule("attn_output.weight", "norm_attn_norm.attn.out_proj.weight", "hidden q"),
            Rule("attn_output_norm.weight", "norm_attn_norm.norm_2.weight", "hidden"),
            Rule("ffn_gate_inp.weight", "ffn.router.layer.weight", "experts hidden"),
            Rule("ffn_gate_exps.weight", "ffn.experts.mlp.w1", "experts ff hidden", becomes=ALL_EXPERTS),
            Rule("ffn_up_exps.weight", "ffn.experts.mlp.v1", "experts ff hidden", becomes=ALL_EXPERTS),
            Rule(
                "ffn_down_exps.weight",
                "ffn.experts.mlp.w2",
                "experts hidden ff",
                transpose("hidden", "ff"),
                becomes=ALL_EXPERTS,
            ),
            below="transformer.blocks.{i}.",
        ),
        Rule("output_norm.weight", "transformer.norm_f.weight", "hidden"),
        Rule("output.weight", "lm_head.weight", "vocab hidden"),
    ),
    keys=(
        Key("attention.layer_norm_epsilon", only=(1e-5,)),  # built into the class
        Key("attention.clamp_kqv", least=0),
    ),
    sizes={"d_model": "hidden", "max_seq_len": "context", "n_heads": "heads", "n_layers": "layers"},
    derived={"attn_config": dbrx_attention, "ffn_config": dbrx_experts},
    assumed={
        "emb_pdrop": 0.0,
        "initializer_range": 0.02,
        "output_router_logits": False,
        "resid_pdrop": 0.0,
        "use_cache": True,
    },
)
