"""Sizes that only some families have: of linear attention, state spaces, latent attention.

Names of sizes: delta net: conv_kernel, key_heads, value_heads, key_dim, value_dim, keys (key_heads · key_dim), values,
repeats (value heads a key head); Mamba 2: conv_kernel, ssm_heads, ssm_head_dim, ssm_groups, state, inner;
latent attention: rank, q_rank, nope, rope_dim, v_dim; short convolution: conv_kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.schema.architecture import Evidence


def delta_net_sizes(evidence: Evidence) -> Mapping[str, int]:
    """Sizes of a gated delta net. Source: llama.cpp, src/models/qwen3next.cpp; conversion/qwen.py."""
    keys = evidence.keys
    key_heads, value_heads = keys.count("ssm.group_count"), keys.count("ssm.time_step_rank")
    key_dim, inner = keys.count("ssm.state_size"), keys.count("ssm.inner_size")
    if value_heads % key_heads:
        raise keys.wrong("ssm.time_step_rank", f"is {value_heads}, no multiple of the {key_heads} key heads")
    if inner % value_heads:
        raise keys.wrong("ssm.inner_size", f"is {inner}, no multiple of the {value_heads} value heads")
    return {
        "conv_kernel": keys.count("ssm.conv_kernel"),
        "key_heads": key_heads,
        "value_heads": value_heads,
        "key_dim": key_dim,
        "value_dim": inner // value_heads,
        "keys": key_heads * key_dim,
        "values": inner,
        "repeats": value_heads // key_heads,
    }


def mamba_sizes(evidence: Evidence) -> Mapping[str, int]:
    """Sizes of the first Mamba. Source: llama.cpp, src/models/mamba.cpp."""
    keys = evidence.keys
    return {
        "conv_kernel": keys.count("ssm.conv_kernel"),
        "inner": keys.count("ssm.inner_size"),
        "state": keys.count("ssm.state_size"),
        "step_rank": keys.count("ssm.time_step_rank"),
    }


def mamba2_sizes(evidence: Evidence) -> Mapping[str, int]:
    """Sizes of Mamba 2. Source: llama.cpp, src/models/mamba-base.cpp, `build_mamba2_layer`; conversion/mamba.py."""
    keys = evidence.keys
    heads, groups = keys.count("ssm.time_step_rank"), keys.count("ssm.group_count")
    inner = keys.count("ssm.inner_size")
    for key, count in (("ssm.time_step_rank", heads), ("ssm.group_count", groups)):
        if inner % count:
            raise keys.wrong(key, f"is {count}, which does not divide the inner size {inner}")
    return {
        "conv_kernel": keys.count("ssm.conv_kernel"),
        "ssm_heads": heads,
        "ssm_head_dim": inner // heads,
        "ssm_groups": groups,
        "state": keys.count("ssm.state_size"),
        "inner": inner,
        "group_inner": inner // groups,
    }


def short_conv_sizes(evidence: Evidence) -> Mapping[str, int]:
    """Size of LFM2's short convolution. Source: llama.cpp, src/models/lfm2.cpp."""
    return {"conv_kernel": evidence.keys.count("shortconv.l_cache")}


def latent_sizes(evidence: Evidence) -> Mapping[str, int]:
    """Sizes of multi-head latent attention, which the file describes as one key head for all queries.

    Source: llama.cpp, src/models/deepseek2.cpp; conversion/deepseek.py.
    """
    keys, sizes = evidence.keys, evidence.sizes
    rank, rope = keys.count("attention.kv_lora_rank"), keys.count("rope.dimension_count")
    whole = keys.count("attention.key_length_mla", keys.count("attention.key_length"))
    usual = sizes["hidden"] // sizes["heads"]
    value = keys.count("attention.value_length_mla", keys.count("attention.value_length", usual))
    if not rope < whole:
        raise keys.wrong("rope.dimension_count", f"is {rope}, expected less than the head's {whole}")
    heads = sizes["heads"]
    found = {
        "rank": rank,
        "nope": whole - rope,
        "v_dim": value,
        "qk_dim": whole,
        "rope_dim": rope,
        "rope_pairs": rope // 2,
        "head_dim": rope,
        "kv_heads": heads,
        "q": heads * whole,
        "kv": heads * whole,
        "v": heads * value,
    }
    q_rank = keys.count("attention.q_lora_rank", None)
    return found if q_rank is None else {**found, "q_rank": q_rank}


def gemma3n_sizes(evidence: Evidence) -> Mapping[str, int]:
    """Sizes of AltUp, Laurel and the per-layer embedding; no key has Laurel's rank.

    Source: llama.cpp, src/models/gemma3n.cpp.
    """
    keys, first = evidence.keys, evidence.tensors.get("blk.0.laurel_l.weight")
    streams = keys.count("altup.num_inputs", 4)
    return {
        "streams": streams,
        "other_streams": streams - 1,
        "per_layer": keys.count("embedding_length_per_layer_input", 256),
        "laurel_rank": 0 if first is None else first.shape[0],
    }


def optional_shared_width(evidence: Evidence) -> Mapping[str, int]:
    """shared: the width of the shared expert, 0 for a model without one."""
    return {"shared": evidence.keys.integer("expert_shared_feed_forward_length", 0)}


def own_heads(evidence: Evidence, layer: int) -> dict[str, int]:
    """A layer's query and key-value heads, and their rows."""
    keys, sizes = evidence.keys, evidence.sizes
    heads = keys.by_layer("attention.head_count", sizes["heads"])[layer]
    kv_heads = keys.by_layer("attention.head_count_kv", heads)[layer]
    if not kv_heads or heads % kv_heads:
        raise keys.wrong(
            "attention.head_count_kv",
            f"is {kv_heads} in layer {layer}, which does not divide its {heads} heads",
        )
    dim = sizes["head_dim"]
    return {"heads": heads, "kv_heads": kv_heads, "q": heads * dim, "kv": kv_heads * dim}


def single_and_doubled_kv_heads(evidence: Evidence) -> Mapping[str, int]:
    """Key-value heads of full layers, where sliding layers have twice as many, and the width of values.

    Source: transformers, models/mimo_v2_flash, `MiMoV2FlashAttention.__init__`.
    """
    keys, sizes = evidence.keys, evidence.sizes
    counts = keys.by_layer("attention.head_count_kv", sizes["heads"])
    if 0 in counts:
        raise keys.wrong("attention.head_count_kv", "is 0 in a layer")
    slides = keys.flags("attention.sliding_window_pattern")
    doubled = {count if slide else 2 * count for count, slide in zip(counts, slides, strict=False)}
    kv_heads, rest = divmod(min(doubled), 2)
    if len(doubled) > 1 or rest:
        what = f"is {counts}, expected twice as many in layers with a window as in the others"
        raise UnsupportedInput(what, where=f"key {printable(keys.name('attention.head_count_kv'))}")
    value_dim = keys.count("attention.value_length", sizes["head_dim"])
    return {
        "kv_heads": kv_heads,
        "kv": kv_heads * sizes["head_dim"],
        "v_dim": value_dim,
        "v": kv_heads * value_dim,
        "o": sizes["heads"] * value_dim,
    }


def own_heads_and_values(evidence: Evidence, layer: int) -> Mapping[str, int]:
    """A layer's heads, and the rows of its values and of the attention's output."""
    own, value_dim = own_heads(evidence, layer), evidence.sizes["v_dim"]
    return {**own, "v": own["kv_heads"] * value_dim, "o": own["heads"] * value_dim}


def gated_heads(evidence: Evidence) -> Mapping[str, int]:
    """gate: the rows of the gate on the first layer's attention output: one per head, or one per channel."""
    return {"gate": evidence.sizes["heads" if gates_heads(evidence) else "q"]}


def gated_heads_of_layer(evidence: Evidence, layer: int) -> Mapping[str, int]:
    """A layer's heads, and the rows of its gate."""
    own = own_heads(evidence, layer)
    return {**own, "gate": own["heads" if gates_heads(evidence) else "q"]}


def gates_heads(evidence: Evidence) -> bool:
    """Return whether gates are per head: if the first layer's gate has one row for each.

    Source: llama.cpp, src/models/laguna.cpp, which looks at the tensor too.
    """
    gate = evidence.tensors.get("blk.0.attn_gate.weight")
    heads = evidence.keys.by_layer("attention.head_count", None)[:1]
    return gate is not None and list(gate.shape[:1]) == heads


def own_widths(evidence: Evidence, layer: int) -> Mapping[str, int]:
    """A layer's feed-forward width, from a key with a list."""
    return {"ff": evidence.keys.by_layer("feed_forward_length", evidence.sizes["ff"])[layer]}


def qkv_sizes(evidence: Evidence) -> Mapping[str, int]:
    """qkv: the rows of queries, keys and values together."""
    return {"qkv": evidence.sizes["q"] + 2 * evidence.sizes["kv"]}


def gemma4_sizes(evidence: Evidence) -> Mapping[str, int]:
    """Sizes of Gemma 4: of the sliding layers, which config.json names, and as `full_…` of the others.

    Source: llama.cpp, src/models/gemma4.cpp.
    """
    keys, sizes = evidence.keys, evidence.sizes
    full = sizes["head_dim"]
    sliding = keys.count("attention.key_length_swa", full)
    if keys.count("attention.value_length_swa", sliding) != sliding:
        raise keys.wrong("attention.value_length_swa", f"is not the {sliding} of q and k")
    keys.count("rope.dimension_count_swa", sliding)
    slides = keys.flags("attention.sliding_window_pattern")
    heads = keys.by_layer("attention.head_count_kv", sizes["heads"])
    counts = {
        kind: {count for count, slide in zip(heads, slides, strict=False) if slide is kind}
        for kind in (True, False)
    }
    for found in counts.values():
        if len(found) != 1 or 0 in found:
            raise keys.wrong("attention.head_count_kv", "differs between layers of one kind")
    kv_heads, full_kv_heads = counts[True].pop(), counts[False].pop()
    per_layer = keys.integer("embedding_length_per_layer_input", 0)
    return {
        "head_dim": sliding,
        "kv_heads": kv_heads,
        "q": sizes["heads"] * sliding,
        "kv": kv_heads * sliding,
        "full_head_dim": full,
        "full_kv_heads": full_kv_heads,
        "rope_pairs": full // 2,
        "per_layer": per_layer,
    }


def gemma4_layer(evidence: Evidence, layer: int) -> Mapping[str, int]:
    """A full layer's heads, and any layer's own feed-forward width."""
    keys, sizes = evidence.keys, evidence.sizes
    own = {"ff": keys.by_layer("feed_forward_length", sizes["ff"])[layer]}
    if keys.flags("attention.sliding_window_pattern")[layer]:
        return own
    dim = sizes["full_head_dim"]
    kv_heads = sizes["full_kv_heads"]
    return {**own, "head_dim": dim, "kv_heads": kv_heads, "q": sizes["heads"] * dim, "kv": kv_heads * dim}
