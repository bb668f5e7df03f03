"""Orders of a source's rows in its target, by slice, as ranges (first row, count); they need no operation.

A head of `value_dim` rows, or of one, moves as a whole; so these are exact for every type and need no memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from llorch.converter.schema.architecture import RowOrder, Sizes

Ranges = Sequence[Sequence[tuple[int, int]]]


def value_heads_grouped(rows: str = "1", *, after_keys: bool = False) -> RowOrder:
    """Value heads tiled [repeats][key heads] → grouped [key heads][repeats], each of `rows` rows.

    after_keys: the rows of q and k come first and stay.
    Source: llama.cpp, conversion/qwen.py, `_reorder_v_heads`, which is this one's inverse.
    """

    def order(sizes: Sizes) -> Ranges:
        groups, repeats = sizes["key_heads"], sizes["repeats"]
        each = int(rows) if rows.isdigit() else sizes[rows]
        before = 2 * sizes["keys"] if after_keys else 0
        stay = [(0, before)] if before else []
        heads = [repeat * groups + group for group in range(groups) for repeat in range(repeats)]
        return [[*stay, *((before + head * each, each) for head in heads)]]

    return order


def by_key_head(sizes: Sizes) -> Ranges:
    """The rows of q, k and v → one slice per key head with its q, its k and its value heads' v.

    Source: llama.cpp, conversion/qwen.py, `Qwen3NextModel.modify_tensors`, which splits them.
    """
    keys, dim = sizes["keys"], sizes["key_dim"]
    values = sizes["repeats"] * sizes["value_dim"]
    return [
        [(g * dim, dim), (keys + g * dim, dim), (2 * keys + g * values, values)]
        for g in range(sizes["key_heads"])
    ]


def values_by_key_head(sizes: Sizes) -> Ranges:
    """The rows of all value heads → one slice for the value heads of each key head."""
    values = sizes["repeats"] * sizes["value_dim"]
    return [[(g * values, values)] for g in range(sizes["key_heads"])]


def each_value_head(sizes: Sizes) -> Ranges:
    """The rows of attention heads → one slice per head, `v_dim` rows each."""
    return [[(head * sizes["v_dim"], sizes["v_dim"])] for head in range(sizes["heads"])]


def queries_keys_values_by_kv_head(sizes: Sizes) -> Ranges:
    """All queries, all keys, all values → for every key-value head its queries, its key and its value.

    Source: llama.cpp, conversion/falcon.py, bloom.py and gptneox.py, `modify_tensors`, which split them.
    """
    dim, queries = sizes["head_dim"], sizes["q"] // sizes["kv_heads"]
    order = []
    for head in range(sizes["kv_heads"]):
        order.append((head * queries, queries))
        order.append((sizes["q"] + head * dim, dim))
        order.append((sizes["q"] + sizes["kv"] + head * dim, dim))
    return [order]
