"""GPT-NeoX, Pythia, Dolly: attention and feed-forward in parallel, each with a norm, a quarter of each head rotated.

The original has the rows of q, k and v by head; in the file all of q comes first.
Source: llama.cpp, conversion/gptneox.py and src/models/gptneox.cpp; transformers, models/gpt_neox.
"""

from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.derived_values import rotary_share
from llorch.converter.schema.row_orders import queries_keys_values_by_kv_head

GPTNEOX = Architecture(
    gguf="gptneox",
    model_type="gpt_neox",
    class_name="GPTNeoXForCausalLM",
    head_dim="never",
    rope=RopeLayout.PARTIAL,
    tensors=(
        Rule("token_embd.weight", "gpt_neox.embed_in.weight", "vocab hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
            Rule("attn_qkv.weight", "attention.query_key_value.weight", "q+2*kv hidden",
                 rows=queries_keys_values_by_kv_head, becomes="q+2*kv hidden"),
            Rule("attn_qkv.bias", "attention.query_key_value.bias", "q+2*kv",
                 rows=queries_keys_values_by_kv_head, becomes="q+2*kv"),
            Rule("attn_output.weight", "attention.dense.weight", "hidden q"),
            Rule("attn_output.bias", "attention.dense.bias", "hidden"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_norm.bias", "post_attention_layernorm.bias", "hidden"),
            Rule("ffn_up.weight", "mlp.dense_h_to_4h.weight", "ff hidden"),
            Rule("ffn_up.bias", "mlp.dense_h_to_4h.bias", "ff"),
            Rule("ffn_down.weight", "mlp.dense_4h_to_h.weight", "hidden ff"),
            Rule("ffn_down.bias", "mlp.dense_4h_to_h.bias", "hidden"),
            below="gpt_neox.layers.{i}.",
        ),
        Rule("output_norm.weight", "gpt_neox.final_layer_norm.weight", "hidden"),
        Rule("output_norm.bias", "gpt_neox.final_layer_norm.bias", "hidden"),
        Rule("output.weight", "embed_out.weight", "vocab hidden"),
    ),
    keys=(
        Key("attention.layer_norm_epsilon", "layer_norm_eps", least=0),
        Key("use_parallel_residual", "use_parallel_residual", Kind.FLAG),
        Key("rope.freq_base", "rotary_emb_base", default=10000.0),
    ),
    derived={"rotary_pct": rotary_share},
    assumed={
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
    },
)  # fmt: skip
