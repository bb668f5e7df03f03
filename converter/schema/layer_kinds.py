"""The kind of each layer: one word per layer, which rules of an architecture's table name (`Rule.layers`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llorch.converter.schema.architecture import Evidence

Kinds = Callable[[Evidence], Sequence[str]]


def dense_then_mixture(evidence: Evidence) -> list[str]:
    """`dense` for the first `leading_dense_block_count` layers, `mixture` for the others."""
    dense = evidence.keys.integer("leading_dense_block_count", 0)
    layers = evidence.sizes["layers"]
    if not 0 <= dense <= layers:
        raise evidence.keys.wrong("leading_dense_block_count", f"is {dense} of {layers} layers")
    return ["dense"] * dense + ["mixture"] * (layers - dense)


def mixture_where_routed(evidence: Evidence) -> list[str]:
    """`mixture` for a layer with a router, else `dense`.

    Source: llama.cpp, src/models/hy-v3.cpp and mimo2.cpp, which look for the tensor rather than a key.
    """
    return [
        "mixture" if f"blk.{layer}.ffn_gate_inp.weight" in evidence.tensors else "dense"
        for layer in range(evidence.sizes["layers"])
    ]


def linear_or_full(evidence: Evidence) -> list[str]:
    """`linear` or `full` by `attention.recurrent_layers`; without it, every `full_attention_interval`th is `full`.

    Source: llama.cpp, src/models/qwen3next.cpp and qwen35.cpp, `load_hparams`.
    """
    layers = evidence.sizes["layers"]
    interval = evidence.keys.count("full_attention_interval", 4)
    listed = evidence.keys.integers("attention.recurrent_layers", None)
    if listed is None:
        return ["full" if (layer + 1) % interval == 0 else "linear" for layer in range(layers)]
    if len(listed) < layers:
        raise evidence.keys.wrong(
            "attention.recurrent_layers", f"has {len(listed)} entries for {layers} layers"
        )
    return ["linear" if recurrent else "full" for recurrent in listed[:layers]]


def attention_or(other: str) -> Kinds:
    """`other` where `attention.head_count_kv` is 0, else `attention`.

    Source: llama.cpp, src/models/lfm2.cpp and granite-hybrid.cpp, `load_hparams`.
    """

    def kinds(evidence: Evidence) -> list[str]:
        counts = evidence.keys.by_layer("attention.head_count_kv", evidence.sizes["heads"])
        return ["attention" if count else other for count in counts[: evidence.sizes["layers"]]]

    return kinds


def one_mixer_each(evidence: Evidence) -> list[str]:
    """`attention` for a layer with key-value heads, `ffn` for one with a feed-forward width, else `mamba`.

    Source: llama.cpp, src/models/nemotron-h.cpp, `load_hparams`.
    """
    layers = evidence.sizes["layers"]
    heads = evidence.keys.by_layer("attention.head_count_kv", evidence.sizes["heads"])[:layers]
    widths = evidence.keys.by_layer("feed_forward_length", 0)[:layers]
    return ["attention" if h else "ffn" if w else "mamba" for h, w in zip(heads, widths, strict=True)]


def sliding_pattern(evidence: Evidence) -> list[bool]:
    """Return `attention.sliding_window_pattern`, one entry per layer, prediction layers included."""
    pattern = evidence.keys.flags("attention.sliding_window_pattern")
    layers = evidence.keys.integer("block_count")
    if len(pattern) != layers:
        raise evidence.keys.wrong(
            "attention.sliding_window_pattern", f"has {len(pattern)} entries for {layers} layers"
        )
    return pattern


def sliding_or_full(evidence: Evidence) -> list[str]:
    """`sliding` or `full` by `attention.sliding_window_pattern`."""
    return [
        "sliding" if slides else "full" for slides in sliding_pattern(evidence)[: evidence.sizes["layers"]]
    ]


def own_keys_or_shared(evidence: Evidence) -> list[str]:
    """`shared keys` for the last `attention.shared_kv_layers`, which use an earlier layer's keys; else `own keys`."""
    layers, shared = evidence.sizes["layers"], evidence.keys.integer("attention.shared_kv_layers", 0)
    if not 0 <= shared < layers:
        raise evidence.keys.wrong("attention.shared_kv_layers", f"is {shared} of {layers} layers")
    return ["own keys"] * (layers - shared) + ["shared keys"] * shared


def with_or_without_layer_embedding(evidence: Evidence) -> list[str]:
    """`layer embedding` for every layer if `embedding_length_per_layer_input` is not 0, else empty."""
    given = evidence.keys.integer("embedding_length_per_layer_input", 0)
    return ["layer embedding" if given else ""] * evidence.sizes["layers"]


def with_or_without_shared_experts(evidence: Evidence) -> list[str]:
    """`shared experts` for every mixture if `expert_shared_feed_forward_length` is not 0, else empty."""
    there = evidence.keys.integer("expert_shared_feed_forward_length", 0)
    kinds = dense_then_mixture(evidence)
    return ["shared experts" if there and kind == "mixture" else "" for kind in kinds]


def low_rank_or_whole(evidence: Evidence) -> list[str]:
    """`low rank queries` for every layer if `attention.q_lora_rank` is present, else `whole queries`."""
    word = "low rank queries" if evidence.keys.has("attention.q_lora_rank") else "whole queries"
    return [word] * evidence.sizes["layers"]


def latent_apart_or_joined(evidence: Evidence) -> list[str]:
    """`joined` if keys and values come from one matrix, as in files from before April 2025; else `apart`, one each."""
    return [
        "joined" if f"blk.{layer}.attn_kv_b.weight" in evidence.tensors else "apart"
        for layer in range(evidence.sizes["layers"])
    ]


def dense_and_every_nth_mixture(evidence: Evidence) -> list[str]:
    """`mixture` from `leading_dense_block_count` on, in every `interleave_moe_layer_step`th layer; else `dense`.

    Source: llama.cpp, src/models/ernie4-5-moe.cpp and llama4.cpp, which build their layers by the same two numbers.
    """
    first = evidence.keys.integer("leading_dense_block_count", 0)
    step = evidence.keys.count("interleave_moe_layer_step", 1)
    layers = range(evidence.sizes["layers"])
    return ["mixture" if layer >= first and (layer + 1) % step == 0 else "dense" for layer in layers]
