"""BLOOM and BLOOMZ: ALiBi instead of rotation, a norm after the embedding, biases everywhere.

The original has the rows of q, k and v by head; in the file all of q comes first.
Source: llama.cpp, conversion/bloom.py and src/models/bloom.cpp; transformers, models/bloom.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, RopeLayout, Rule, in_layers
from llorch.converter.schema.row_orders import queries_keys_values_by_kv_head

BLOOM = Architecture(
    gguf="bloom",
    model_type="bloom",
    class_name="BloomForCausalLM",
    head_dim="never",
    rope=RopeLayout.NONE,
    tensors=(
        Rule("token_embd.weight", "transformer.word_embeddings.weight", "vocab hidden"),
        Rule("token_embd_norm.weight", "transformer.word_embeddings_layernorm.weight", "hidden"),
        Rule("token_embd_norm.bias", "transformer.word_embeddings_layernorm.bias", "hidden"),
        *in_layers(
            Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
            Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
            Rule("attn_qkv.weight", "self_attention.query_key_value.weight", "q+2*kv hidden",
                 rows=queries_keys_values_by_kv_head, becomes="q+2*kv hidden"),
            Rule("attn_qkv.bias", "self_attention.query_key_value.bias", "q+2*kv",
                 rows=queries_keys_values_by_kv_head, becomes="q+2*kv"),
            Rule("attn_output.weight", "self_attention.dense.weight", "hidden q"),
            Rule("attn_output.bias", "self_attention.dense.bias", "hidden"),
            Rule("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
            Rule("ffn_norm.bias", "post_attention_layernorm.bias", "hidden"),
            Rule("ffn_up.weight", "mlp.dense_h_to_4h.weight", "ff hidden"),
            Rule("ffn_up.bias", "mlp.dense_h_to_4h.bias", "ff"),
            Rule("ffn_down.weight", "mlp.dense_4h_to_h.weight", "hidden ff"),
            Rule("ffn_down.bias", "mlp.dense_4h_to_h.bias", "hidden"),
            below="transformer.h.{i}.",
        ),
        Rule("output_norm.weight", "transformer.ln_f.weight", "hidden"),
        Rule("output_norm.bias", "transformer.ln_f.bias", "hidden"),
        *rows.HEAD,
    ),
    keys=(Key("attention.layer_norm_epsilon", "layer_norm_epsilon", least=0),),
    sizes={"n_head": "heads", "n_layer": "layers", "seq_length": "context"},
    assumed={
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "initializer_range": 0.02,
        "pretraining_tp": 1,
        "slow_but_exact": False,
        "use_cache": True,
    },
)  # fmt: skip
