"""GPT-2: learned positions, biases everywhere, matrices transposed in transformers (in, out); and StarCoder 1.

Source: llama.cpp, conversion/gpt2.py, conversion/starcoder.py, src/models/gpt2.cpp and starcoder.cpp;
transformers, models/gpt2 and models/gpt_bigcode.
"""

from llorch.converter.schema import rows
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout, Rule, in_layers
from llorch.converter.schema.block_sizes import qkv_sizes
from llorch.converter.schema.operations import transpose

H = "transformer.h.{i}."
AROUND = (
    Rule("token_embd.weight", "transformer.wte.weight", "vocab hidden"),
    Rule("position_embd.weight", "transformer.wpe.weight", "context hidden"),
    Rule("output_norm.weight", "transformer.ln_f.weight", "hidden"),
    Rule("output_norm.bias", "transformer.ln_f.bias", "hidden"),
    *rows.HEAD,
)
NORMS_AND_BIASES = in_layers(
    Rule("attn_norm.weight", "ln_1.weight", "hidden"),
    Rule("attn_norm.bias", "ln_1.bias", "hidden"),
    Rule("attn_qkv.bias", "attn.c_attn.bias", "q+2*kv"),
    Rule("attn_output.bias", "attn.c_proj.bias", "hidden"),
    Rule("ffn_norm.weight", "ln_2.weight", "hidden"),
    Rule("ffn_norm.bias", "ln_2.bias", "hidden"),
    Rule("ffn_up.bias", "mlp.c_fc.bias", "ff"),
    Rule("ffn_down.bias", "mlp.c_proj.bias", "hidden"),
    below=H,
)
KEYS = (Key("attention.layer_norm_epsilon", "layer_norm_epsilon", least=0),)
SIZES = {
    "n_ctx": "context",
    "n_embd": "hidden",
    "n_head": "heads",
    "n_inner": "ff",
    "n_layer": "layers",
    "n_positions": "context",
}
ASSUMED = {
    "attn_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "initializer_range": 0.02,
    "resid_pdrop": 0.1,
    "scale_attn_weights": True,
    "use_cache": True,
}

GPT2 = Architecture(
    gguf="gpt2",
    model_type="gpt2",
    class_name="GPT2LMHeadModel",
    head_dim="never",
    rope=RopeLayout.NONE,
    block_sizes=(qkv_sizes,),
    tensors=(
        *AROUND,
        *NORMS_AND_BIASES,
        *in_layers(
            Rule(
                "attn_qkv.weight",
                "attn.c_attn.weight",
                "qkv hidden",
                transpose("qkv", "hidden"),
                becomes="hidden qkv",
            ),
            Rule(
                "attn_output.weight",
                "attn.c_proj.weight",
                "hidden q",
                transpose("hidden", "q"),
                becomes="q hidden",
            ),
            Rule(
                "ffn_up.weight",
                "mlp.c_fc.weight",
                "ff hidden",
                transpose("ff", "hidden"),
                becomes="hidden ff",
            ),
            Rule(
                "ffn_down.weight",
                "mlp.c_proj.weight",
                "hidden ff",
                transpose("hidden", "ff"),
                becomes="ff hidden",
            ),
            below=H,
        ),
    ),
    keys=KEYS,
    sizes=SIZES,
    assumed={
        **ASSUMED,
        "activation_function": "gelu_new",
        "reorder_and_upcast_attn": False,
        "scale_attn_by_inverse_layer_idx": False,
    },
)

STARCODER = Architecture(
    gguf="starcoder",
    model_type="gpt_bigcode",
    class_name="GPTBigCodeForCausalLM",
    head_dim="never",
    rope=RopeLayout.NONE,
    tensors=(
        *AROUND,
        *NORMS_AND_BIASES,
        *in_layers(
            Rule("attn_qkv.weight", "attn.c_attn.weight", "q+2*kv hidden"),
            Rule("attn_output.weight", "attn.c_proj.weight", "hidden q"),
            Rule("ffn_up.weight", "mlp.c_fc.weight", "ff hidden"),
            Rule("ffn_down.weight", "mlp.c_proj.weight", "hidden ff"),
            below=H,
        ),
    ),
    keys=(*KEYS, Key("attention.head_count_kv", kind=Kind.INTEGER, only=(1,))),
    sizes=SIZES,
    assumed={
        **ASSUMED,
        "activation_function": "gelu_pytorch_tanh",
        "attention_softmax_in_fp32": True,
        "multi_query": True,
        "scale_attention_softmax_in_fp32": True,
    },
)
