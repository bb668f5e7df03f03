"""Falcon: 7B has one key head and one norm per block, 40B and 180B several heads and two norms, 11B several and one.

The original has the rows of q, k and v by key-value head; in the file all of q comes first.
Source: llama.cpp, conversion/falcon.py and src/models/falcon.cpp; transformers, models/falcon.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers
from llorch.converter.schema.conditions import has_second_norm, has_several_key_heads
from llorch.converter.schema.row_orders import queries_keys_values_by_kv_head

H = "transformer.h.{i}."
AROUND = (
    Rule("token_embd.weight", "transformer.word_embeddings.weight", "vocab hidden"),
    Rule("output_norm.weight", "transformer.ln_f.weight", "hidden"),
    Rule("output_norm.bias", "transformer.ln_f.bias", "hidden"),
    *rows.HEAD,
)
BLOCK = in_layers(
    Rule("attn_qkv.weight", "self_attention.query_key_value.weight", "q+2*kv hidden",
         rows=queries_keys_values_by_kv_head, becomes="q+2*kv hidden"),
    Rule("attn_output.weight", "self_attention.dense.weight", "hidden q"),
    Rule("ffn_up.weight", "mlp.dense_h_to_4h.weight", "ff hidden"),
    Rule("ffn_down.weight", "mlp.dense_4h_to_h.weight", "hidden ff"),
    below=H,
)  # fmt: skip
ONE_NORM = in_layers(
    Rule("attn_norm.weight", "input_layernorm.weight", "hidden"),
    Rule("attn_norm.bias", "input_layernorm.bias", "hidden"),
    below=H,
)
TWO_NORMS = in_layers(
    Rule("attn_norm_2.weight", "ln_attn.weight", "hidden"),
    Rule("attn_norm_2.bias", "ln_attn.bias", "hidden"),
    Rule("attn_norm.weight", "ln_mlp.weight", "hidden"),
    Rule("attn_norm.bias", "ln_mlp.bias", "hidden"),
    below=H,
)
KEYS = (Key("attention.layer_norm_epsilon", "layer_norm_epsilon", least=0),)
SIZES = {"ffn_hidden_size": "ff", "num_kv_heads": "kv_heads"}
ASSUMED = {
    "activation": "gelu",
    "alibi": False,
    "attention_dropout": 0.0,
    "bias": False,
    "hidden_dropout": 0.0,
    "initializer_range": 0.02,
    "parallel_attn": True,
    "use_cache": True,
}

FALCON_7B = Architecture(
    gguf="falcon",
    model_type="falcon",
    class_name="FalconForCausalLM",
    head_dim="never",
    tensors=(*AROUND, *BLOCK, *ONE_NORM),
    keys=KEYS,
    sizes=SIZES,
    assumed={**ASSUMED, "multi_query": True, "new_decoder_architecture": False},
)

FALCON_11B = Architecture(
    gguf="falcon",
    model_type="falcon",
    class_name="FalconForCausalLM",
    when=has_several_key_heads,
    head_dim="never",
    tensors=(*AROUND, *BLOCK, *ONE_NORM),
    keys=KEYS,
    sizes=SIZES,
    assumed={**ASSUMED, "multi_query": True, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 1},
)

FALCON_40B = Architecture(
    gguf="falcon",
    model_type="falcon",
    class_name="FalconForCausalLM",
    when=has_second_norm,
    head_dim="never",
    tensors=(*AROUND, *BLOCK, *TWO_NORMS),
    keys=KEYS,
    sizes=SIZES,
    assumed={**ASSUMED, "multi_query": True, "new_decoder_architecture": True, "num_ln_in_parallel_attn": 2},
)
