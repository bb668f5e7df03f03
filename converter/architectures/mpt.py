"""MPT 7B and 30B: ALiBi instead of rotation, no biases, clipped q, k and v.

transformers' class always has ALiBi, with its default exponents: a file with others is refused. The class is found by
model_type, so it can have the originals' name, by which llama.cpp's converter and vLLM find it.
Source: llama.cpp, conversion/mpt.py and src/models/mpt.cpp; transformers, models/mpt.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, RopeLayout, Rule, in_layers
from llorch.converter.schema.derived_values import how_many, mpt_attention

MPT = Architecture(
    gguf="mpt",
    model_type="mpt",
    class_name="MPTForCausalLM",
    head_dim="never",
    rope=RopeLayout.NONE,
    tensors=(
        Rule("token_embd.weight", "transformer.wte.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "norm_1.weight", "hidden"),
            Rule("attn_qkv.weight", "attn.Wqkv.weight", "3*hidden hidden"),
            Rule("attn_output.weight", "attn.out_proj.weight", "hidden q"),
            Rule("ffn_norm.weight", "norm_2.weight", "hidden"),
            Rule("ffn_up.weight", "ffn.up_proj.weight", "ff hidden"),
            Rule("ffn_down.weight", "ffn.down_proj.weight", "hidden ff"),
            below="transformer.blocks.{i}.",
        ),
        Rule("output_norm.weight", "transformer.norm_f.weight", "hidden"),
        *rows.HEAD,
    ),
    keys=(
        Key("attention.layer_norm_epsilon", "layer_norm_epsilon", least=0),
        Key("attention.max_alibi_bias", only=(8.0,)),
        Key("attention.clamp_kqv", default=0.0, least=0),
    ),
    sizes={"d_model": "hidden", "max_seq_len": "context", "n_heads": "heads", "n_layers": "layers"},
    derived={
        "attn_config": mpt_attention,
        "expansion_ratio": how_many("hidden", "ff", "feed_forward_length"),
    },
    assumed={
        "emb_pdrop": 0.0,
        "embedding_fraction": 1.0,
        "init_device": "cpu",
        "initializer_range": 0.02,
        "learned_pos_emb": True,
        "logit_scale": None,
        "no_bias": True,
        "norm_type": "low_precision_layernorm",
        "resid_pdrop": 0.0,
        "use_cache": True,
    },
)
