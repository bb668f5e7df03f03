"""Keys that the published originals of a family have, and that neither GGUF nor transformers has a use for.

Other readers demand them: a Rust struct with a field that is not optional fails on a folder without it, or with a
null where it wants a number, before it looks at a weight. So what a family's own row in `architectures/` leaves out
or leaves null is filled in here, with a value that changes nothing in what the model computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """One family's keys.

    source: whose config.json has them, looked up in copies of it; where none was found, the class that has the key is
    named beside the row. keys: name in config.json → its value, or a function of the keys known so far;
    what it gives as None is left out.
    """

    source: str
    keys: Mapping[str, object | Callable[[Values], object]]


def fill_in(model_type: str, values: Values) -> dict[str, object]:
    """The published keys that `values`, a config.json so far, does not have or has as null.

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
    """The value of another key."""
    return lambda values: values[key]


def period_of_full_layers(values: Values) -> object:
    """The n for which layer i attends to everything where (i + 1) is a multiple of n; None if there is no such n.

    A model whose layers all slide, or that has fewer than n, fits every n above its layers: the published 6 then.
    """
    types = values["layer_types"]
    assert isinstance(types, list)
    full = [layer + 1 for layer, kind in enumerate(types) if kind == "full_attention"]
    period = full[0] if full else max(6, len(types) + 1)
    return period if full == list(range(period, len(types) + 1, period)) else None


def last_layer(values: Values) -> object:
    """The number of the last layer, from 0."""
    layers = values["num_hidden_layers"]
    assert isinstance(layers, int)
    return layers - 1


def letters_of_layers(values: Values) -> object:
    """L for a layer with a window and G for one without, as often as they repeat; None where no layer has one."""
    types = values["layer_types"]
    assert isinstance(types, list)
    if "sliding_attention" not in types:
        return None
    period = period_of_full_layers(values)
    return "L" * (period - 1) + "G" if isinstance(period, int) else None


def of_full_layers(key: str) -> Callable[[Values], object]:
    """What per_layer_config says of Gemma 4's layers without a window, or else the key of all layers."""

    def read(values: Values) -> object:
        layers = values["per_layer_config"]
        assert isinstance(layers, dict)
        full: dict[str, object] = next(iter(layers.values()), {})
        return full.get(key, values[key])

    return read


def of_full_layers_with_one_projection(values: Values) -> object:
    """Heads of Gemma 4's layers without a window where keys and values are one projection; elsewhere null.

    So it is published, and transformers' class heeds it there alone.
    """
    return of_full_layers("num_key_value_heads")(values) if values["attention_k_eq_v"] else None


def of_product(values: Values, *keys: str) -> int:
    """The product of sizes."""
    sizes = [values[key] for key in keys]
    assert all(isinstance(size, int) for size in sizes)
    return math.prod(size for size in sizes if isinstance(size, int))


def multiple_of_the_vocabulary(values: Values) -> int:
    """The published 8 of Mamba, to a multiple of which candle pads the vocabulary; 1 where that would add rows."""
    return 1 if of_product(values, "vocab_size") % 8 else 8


def rope_ratio(values: Values) -> float:
    """How many times ChatGLM's usual base of 10,000 the rotation's base is."""
    base = values["rope_theta"]
    assert isinstance(base, float | int)
    return base / 10000


def dense_layers(values: Values) -> object:
    """How many layers, from the first, are dense, where mlp_layer_types says it layer by layer."""
    types = values["mlp_layer_types"]
    assert isinstance(types, list)
    return next((i for i, kind in enumerate(types) if kind != "dense"), len(types))


def sparse_layers(values: Values) -> list[bool]:
    """Which layers are mixtures, where mlp_layer_types says it layer by layer."""
    types = values["mlp_layer_types"]
    assert isinstance(types, list)
    return [kind == "sparse" for kind in types]


def layers_that_rotate(values: Values) -> object:
    """1 for each layer that rotates and 0 for the others; None where all do."""
    bases = values["layer_rope_theta"]
    assert isinstance(bases, list)
    return [int(base != 0) for base in bases] if 0 in bases else None


# Where no number says what layer_types says, and where no layer is other than the rest.
MAY_BE_LEFT_OUT = frozenset({"no_rope_layers", "sliding_window_pattern"})

# use_sliding_window is false wherever these stand: the window and the layer from which it would hold do nothing.
WINDOW_OFF: Mapping[str, object | Callable[[Values], object]] = {
    "max_window_layers": same_as("num_hidden_layers"),
    "use_sliding_window": False,
}

# Without it candle, mistral.rs and mlx-lm would choose by softmax, and llama.cpp's converter would not say which.
BY_SIGMOID: Mapping[str, object] = {"scoring_func": "sigmoid"}

PUBLISHED: Mapping[str, PublishedKeys] = {
    # No copy was found: llama.cpp's converter looks for it.
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
    # The last layer that may be a mixture. transformers' class has -1 for it, which mlx-lm takes as it is.
    "ernie4_5_moe": PublishedKeys("baidu/ERNIE-4.5-21B-A3B-PT", {"moe_layer_end_index": last_layer}),
    "exaone4": PublishedKeys("LGAI-EXAONE/EXAONE-4.0-32B", {"sliding_window_pattern": letters_of_layers}),
    # No copy was found: llama.cpp's converter looks for it, and its runtime demands what that writes.
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
    # llama.cpp's converter takes the context, the norms' epsilon and the rotation's base by the names of ChatGLM alone.
    "glm": PublishedKeys(
        "zai-org/glm-4-9b-chat",
        {
            "layernorm_epsilon": same_as("rms_norm_eps"),
            "rope_ratio": rope_ratio,
            "seq_length": same_as("max_position_embeddings"),
        },
    ),
    # The original says no scoring_func: llama.cpp knows its 47 layers, and takes softmax for any other number of them.
    "glm4_moe_lite": PublishedKeys(
        "zai-org/GLM-4.7-Flash",
        {**BY_SIGMOID, "first_k_dense_replace": dense_layers, "topk_method": "noaux_tc"},
    ),
    # No copies were found: llama.cpp's converter looks for it.
    "granite_swa": PublishedKeys("ibm-granite/granite-swash-3b", {"no_rope_layers": layers_that_rotate}),
    "granitemoe_swa": PublishedKeys(
        "ibm-granite/granite-swash-3b-a600m", {"no_rope_layers": layers_that_rotate}
    ),
    # llama.cpp's converter takes the end of text from here; transformers' class has 3 where the key is absent.
    "hunyuan_v1_dense": PublishedKeys(
        "tencent/Hunyuan-7B-Instruct", {"eod_token_id": same_as("eos_token_id")}
    ),
    "llama": PublishedKeys("meta-llama/Llama-3.1-8B", {"pretraining_tp": 1}),
    # candle finds the sizes by the names of the upload before -hf, which the -hf one has beside its own.
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
    # The original's limit is infinity, for which JSON has no number, and which transformers 5 writes as an object that
    # 4 does not read: float16's largest cuts off no step either.
    "mamba2": PublishedKeys(
        "mistralai/Mamba-Codestral-7B-v0.1",
        {
            "intermediate_size": lambda values: of_product(values, "num_heads", "head_dim"),
            "time_step_limit": [0.0, 65504.0],
            "time_step_rank": lambda values: -(-of_product(values, "hidden_size") // 16),
        },
    ),
    "minimax_m2": PublishedKeys(
        "MiniMaxAI/MiniMax-M2", {**BY_SIGMOID, "shared_intermediate_size": 0, "use_routing_bias": True}
    ),
    # The first release had a window of 4096, later ones null, of which candle and mistral.rs make no number: a window
    # as long as the context hides nothing. use_flash_attn is candle's own, and no original has it.
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
