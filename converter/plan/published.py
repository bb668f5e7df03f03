"""Keys of the published config.json of a family that neither GGUF has nor transformers needs.

Other readers require them: a Rust struct with a mandatory field fails on a folder without it, or with null for a
number, before it reads a weight. Keys that a family's table in `architectures/` leaves out or null are filled in here,
with values that do not change what the model computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """One family's keys.

    source: the repository whose config.json has them, looked up in copies of it; if none was found, a comment names the
    reader that needs the key. keys: name in config.json → its value, or a function of the keys known so far; None is
    left out.
    """

    source: str
    keys: Mapping[str, object | Callable[[Values], object]]


def fill_in(model_type: str, values: Values) -> dict[str, object]:
    """Return the published keys that `values`, a config.json so far, lacks or has as null.

    Example: fill_in("qwen3", {"num_hidden_layers": 36, …}) has max_window_layers 36.
    """
    row = PUBLISHED.get(model_type)
    if row is None:
        return {}
    found = {name: value(values) if callable(value) else value for name, value in row.keys.items()}
    return {
        name: value
        for name, value in found.items()
        if name not in values or (values[name] is None and value is not None)
        if value is not None or name not in MAY_BE_LEFT_OUT
    }


def same_as(key: str) -> Callable[[Values], object]:
    """Return a function that gives the value of another key."""
    return lambda values: values[key]


def period_of_full_layers(values: Values) -> object:
    """Return the n for which layer i has full attention if (i + 1) is a multiple of n; None if there is no such n.

    If no layer has full attention, every n above the number of layers fits; then it is at least the published 6.
    """
    types = values["layer_types"]
    assert isinstance(types, list)
    full = [layer + 1 for layer, kind in enumerate(types) if kind == "full_attention"]
    period = full[0] if full else max(6, len(types) + 1)
    return period if full == list(range(period, len(types) + 1, period)) else None


def last_layer(values: Values) -> object:
    """Return the number of the last layer, from 0."""
    layers = values["num_hidden_layers"]
    assert isinstance(layers, int)
    return layers - 1


def letters_of_layers(values: Values) -> object:
    """Return the repeating pattern of L (layer with a window) and G (without); None if no layer has a window."""
    types = values["layer_types"]
    assert isinstance(types, list)
    if "sliding_attention" not in types:
        return None
    period = period_of_full_layers(values)
    return "L" * (period - 1) + "G" if isinstance(period, int) else None


def of_full_layers(key: str) -> Callable[[Values], object]:
    """Return a function that gives a key of Gemma 4's layers without a window: from per_layer_config, else its own."""

    def read(values: Values) -> object:
        layers = values["per_layer_config"]
        assert isinstance(layers, dict)
        full: dict[str, object] = next(iter(layers.values()), {})
        return full.get(key, values[key])

    return read


def of_full_layers_with_one_projection(values: Values) -> object:
    """Return the heads of Gemma 4's layers without a window if keys and values share a projection, else None.

    So it is published, and transformers' class reads it only then.
    """
    return of_full_layers("num_key_value_heads")(values) if values["attention_k_eq_v"] else None


def of_product(values: Values, *keys: str) -> int:
    """Return the product of sizes."""
    sizes = [values[key] for key in keys]
    assert all(isinstance(size, int) for size in sizes)
    return math.prod(size for size in sizes if isinstance(size, int))


def multiple_of_the_vocabulary(values: Values) -> int:
    """Return Mamba's published 8, to a multiple of which candle pads the vocabulary; 1 if that would add rows."""
    return 1 if of_product(values, "vocab_size") % 8 else 8


def rope_ratio(values: Values) -> float:
    """Return the rope base divided by ChatGLM's usual 10,000."""
    base = values["rope_theta"]
    assert isinstance(base, float | int)
    return base / 10000


def dense_layers(values: Values) -> object:
    """Return the number of leading dense layers according to mlp_layer_types."""
    types = values["mlp_layer_types"]
    assert isinstance(types, list)
    return next((i for i, kind in enumerate(types) if kind != "dense"), len(types))


def sparse_layers(values: Values) -> list[bool]:
    """Return for each layer whether it is a mixture according to mlp_layer_types."""
    types = values["mlp_layer_types"]
    assert isinstance(types, list)
    return [kind == "sparse" for kind in types]


def layers_that_rotate(values: Values) -> object:
    """Return 1 for each layer with rotation and 0 for the others; None if all have rotation."""
    bases = values["layer_rope_theta"]
    assert isinstance(bases, list)
    return [int(base != 0) for base in bases] if 0 in bases else None


def sliding_layers(values: Values) -> list[bool]:
    """Return for each layer whether it has a sliding window, according to layer_types."""
    types = values["layer_types"]
    assert isinstance(types, list)
    return [kind == "sliding_attention" for kind in types]


def of_rotation(layer_type: str, key: str) -> Callable[[Values], object]:
    """Return a function that gives a rotary parameter of one type of layer."""

    def read(values: Values) -> object:
        parameters = values["rope_parameters"]
        assert isinstance(parameters, dict)
        return parameters[layer_type][key]

    return read


# Left out if all layers have rotation, or if no number expresses layer_types.
MAY_BE_LEFT_OUT = frozenset({"no_rope_layers", "sliding_window_pattern"})

# use_sliding_window is false in all of these, so the window and the layer it would begin at have no effect.
WINDOW_OFF: Mapping[str, object | Callable[[Values], object]] = {
    "max_window_layers": same_as("num_hidden_layers"),
    "use_sliding_window": False,
}

# Without it candle, mistral.rs and mlx-lm use softmax scores, and llama.cpp's converter writes none.
BY_SIGMOID: Mapping[str, object] = {"scoring_func": "sigmoid"}

PUBLISHED: Mapping[str, PublishedKeys] = {
    # No copy of the config.json was found: llama.cpp's converter reads the key.
    "afmoe": PublishedKeys("arcee-ai/Trinity-Mini", {"score_func": "sigmoid"}),
    "apertus": PublishedKeys(
        "swiss-ai/Apertus-8B-Instruct-2509", {"mlp_bias": False, "post_norm": False, "qk_norm": True}
    ),
    "cohere2": PublishedKeys(
        "CohereLabs/c4ai-command-r7b-12-2024",
        {
            "order_of_interleaved_layers": "local_attn_first",
            "position_embedding_type": "rope_gptj",
            "rotary_pct": 1.0,
            "sliding_window_pattern": period_of_full_layers,
            "use_gated_activation": True,
            "use_parallel_block": True,
        },
    ),
    "deepseek_v2": PublishedKeys(
        "deepseek-ai/DeepSeek-V2-Lite", {"moe_layer_freq": 1, "scoring_func": "softmax"}
    ),
    "deepseek_v3": PublishedKeys(
        "deepseek-ai/DeepSeek-V3", {**BY_SIGMOID, "moe_layer_freq": 1, "topk_method": "noaux_tc"}
    ),
    "dots1": PublishedKeys("rednote-hilab/dots.llm1.inst", {**BY_SIGMOID, "topk_method": "noaux_tc"}),
    # The last layer that may be a mixture. transformers' default -1 is taken literally by mlx-lm.
    "ernie4_5_moe": PublishedKeys("baidu/ERNIE-4.5-21B-A3B-PT", {"moe_layer_end_index": last_layer}),
    "exaone4": PublishedKeys("LGAI-EXAONE/EXAONE-4.0-32B", {"sliding_window_pattern": letters_of_layers}),
    # No copy of the config.json was found: llama.cpp's converter reads the key, and its runtime needs the result.
    "exaone_moe": PublishedKeys(
        "LGAI-EXAONE/K-EXAONE-236B-A23B", {**BY_SIGMOID, "is_moe_layer": sparse_layers}
    ),
    "gemma3_text": PublishedKeys("google/gemma-3-1b-it", {"sliding_window_pattern": period_of_full_layers}),
    "gemma4_text": PublishedKeys(
        "google/gemma-4-E2B-it",
        {
            "global_head_dim": of_full_layers("head_dim"),
            "num_global_key_value_heads": of_full_layers_with_one_projection,
        },
    ),
    # llama.cpp's converter reads the context, the norms' epsilon and the rope base only under ChatGLM's names.
    "glm": PublishedKeys(
        "zai-org/glm-4-9b-chat",
        {
            "layernorm_epsilon": same_as("rms_norm_eps"),
            "rope_ratio": rope_ratio,
            "seq_length": same_as("max_position_embeddings"),
        },
    ),
    # The original has no scoring_func: llama.cpp recognizes its 47 layers, and assumes softmax for any other number.
    "glm4_moe_lite": PublishedKeys(
        "zai-org/GLM-4.7-Flash",
        {**BY_SIGMOID, "first_k_dense_replace": dense_layers, "topk_method": "noaux_tc"},
    ),
    # No copies of the config.json were found: llama.cpp's converter reads the key.
    "granite_swa": PublishedKeys("ibm-granite/granite-swash-3b", {"no_rope_layers": layers_that_rotate}),
    "granitemoe_swa": PublishedKeys(
        "ibm-granite/granite-swash-3b-a600m", {"no_rope_layers": layers_that_rotate}
    ),
    # llama.cpp's converter reads the end of text here; transformers' default is 3.
    "hunyuan_v1_dense": PublishedKeys(
        "tencent/Hunyuan-7B-Instruct", {"eod_token_id": same_as("eos_token_id")}
    ),
    "llama": PublishedKeys("meta-llama/Llama-3.1-8B", {"pretraining_tp": 1}),
    # candle reads the sizes under the names of the repository without -hf; the one with -hf has both names.
    "mamba": PublishedKeys(
        "state-spaces/mamba-130m-hf",
        {
            "d_inner": same_as("intermediate_size"),
            "d_model": same_as("hidden_size"),
            "fused_add_norm": True,
            "n_layer": same_as("num_hidden_layers"),
            "pad_vocab_size_multiple": multiple_of_the_vocabulary,
            "rms_norm": True,
        },
    ),
    # The original's upper limit is infinity, which JSON cannot express, and which transformers 5 writes as an object
    # that 4 cannot read. float16's largest number limits no step either.
    "mamba2": PublishedKeys(
        "mistralai/Mamba-Codestral-7B-v0.1",
        {
            "intermediate_size": lambda values: of_product(values, "num_heads", "head_dim"),
            "time_step_limit": [0.0, 65504.0],
            "time_step_rank": lambda values: -(-of_product(values, "hidden_size") // 16),
        },
    ),
    # llama.cpp's converter and mlx-lm read these keys. mlx-lm also requires sliding_window_size, which transformers
    # would take for another window.
    "mimo_v2_flash": PublishedKeys(
        "XiaomiMiMo/MiMo-V2-Flash",
        {
            **BY_SIGMOID,
            "add_full_attention_sink_bias": False,
            "add_swa_attention_sink_bias": True,
            "hybrid_layer_pattern": lambda values: [int(slides) for slides in sliding_layers(values)],
            "layernorm_epsilon": same_as("rms_norm_eps"),
            "moe_layer_freq": lambda values: [int(sparse) for sparse in sparse_layers(values)],
            "n_shared_experts": None,
            "partial_rotary_factor": of_rotation("full_attention", "partial_rotary_factor"),
            "rope_theta": of_rotation("full_attention", "rope_theta"),
            "swa_head_dim": same_as("head_dim"),
            "swa_num_attention_heads": same_as("num_attention_heads"),
            "swa_num_key_value_heads": lambda values: 2 * of_product(values, "num_key_value_heads"),
            "swa_rope_theta": of_rotation("sliding_attention", "rope_theta"),
            "swa_v_head_dim": same_as("v_head_dim"),
            "topk_method": "noaux_tc",
        },
    ),
    "minimax_m2": PublishedKeys(
        "MiniMaxAI/MiniMax-M2", {**BY_SIGMOID, "shared_intermediate_size": 0, "use_routing_bias": True}
    ),
    # The first release had a window of 4096, later ones null, which candle and mistral.rs cannot parse: a window as
    # long as the context has no effect. use_flash_attn is candle's own; no original has it.
    "mixtral": PublishedKeys(
        "mistralai/Mixtral-8x7B-v0.1",
        {"sliding_window": same_as("max_position_embeddings"), "use_flash_attn": False},
    ),
    "qwen2": PublishedKeys(
        "Qwen/Qwen2.5-7B-Instruct", {**WINDOW_OFF, "sliding_window": same_as("max_position_embeddings")}
    ),
    "qwen2_moe": PublishedKeys(
        "Qwen/Qwen1.5-MoE-A2.7B", {**WINDOW_OFF, "sliding_window": same_as("max_position_embeddings")}
    ),
    "qwen3": PublishedKeys("Qwen/Qwen3-8B", WINDOW_OFF),
    "qwen3_moe": PublishedKeys("Qwen/Qwen3-30B-A3B", WINDOW_OFF),
    "smollm3": PublishedKeys("HuggingFaceTB/SmolLM3-3B", {**WINDOW_OFF, "pretraining_tp": 2}),
    "starcoder2": PublishedKeys("bigcode/starcoder2-15b", {"mlp_type": "default", "norm_type": "layer_norm"}),
}
