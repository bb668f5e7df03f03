"""Attention over a cache on the device, of one token or of many."""

from __future__ import annotations

from torch import Tensor

from llorch.runtime.kernels.cuda import attention
from llorch.runtime.kernels.cuda.launch.emitted import PACK_COLUMNS, Emitted, chained, padded
from llorch.runtime.kernels.cuda.launch.rows import Norm
from llorch.runtime.traits import Rope, Traits

QUERY_BLOCK, KEY_BLOCK = 64, 64


def _row_stride(norm: Norm | None, head_dim: int) -> int:
    """Numbers from one head's weights to the next one's; 0 where all heads have the same."""
    shared = norm is None or norm.weight is None or norm.weight.numel() == head_dim
    return 0 if shared else head_dim


def attend(
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Tensor,
    out: Emitted,
    *,
    sums: Tensor,
    tops: Tensor,
    traits: Traits,
    angles: Tensor | None,
    rope: Rope | None,
    q_norm: Norm | None,
    k_norm: Norm | None,
    window: int | None,
) -> None:
    """One token's attention over a cache, whose place `position` it fills.

    qkv: (parts, (heads + 2 kv_heads) · head_dim), the products' parts. keys, values: (kv_heads, positions, head_dim).
    angles: cosines and sines (2, positions, n_rot / 2). sums, tops: scratch, see the kernel. out: emitted.
    """
    heads, splits, width = sums.shape
    short = keys.shape[1] <= 256 * splits  # one warp needs no barrier, and a share has few steps
    kind = "none" if q_norm is None or k_norm is None else traits.head_norm or "none"
    cos, sin = (position, position) if angles is None else (angles[0], angles[1])
    attention.attend_one[heads, splits](
        sums,
        tops,
        qkv,
        keys,
        values,
        cos,
        sin,
        position,
        None if q_norm is None else q_norm.weight,
        None if q_norm is None else q_norm.bias,
        None if k_norm is None else k_norm.weight,
        None if k_norm is None else k_norm.bias,
        _row_stride(q_norm, traits.head_dim),
        heads,
        traits.kv_heads,
        qkv.stride(0),
        keys.shape[1],
        window or 0,
        traits.attention_scale,
        traits.attention_softcap or 1.0,
        traits.norm_eps if q_norm is None else q_norm.eps,
        PARTS=len(qkv),
        D=traits.head_dim,
        DB=width,
        NROT=0 if rope is None else rope.n_rot,
        PAIRS="none" if rope is None else rope.pairs,
        NORM=kind,
        KIND=traits.norm if q_norm is None else q_norm.kind,
        WINDOW=window is not None,
        CAPPED=traits.attention_softcap is not None,
        SPLITS=splits,
        P=16 if short else 32,
        num_warps=1 if short else 4,
        **chained(qkv),
    )
    columns = out.plain.shape[1]
    attention.combine[-(-columns // PACK_COLUMNS),](
        *out.buffers,
        sums,
        tops,
        columns,
        out.groups,
        D=traits.head_dim,
        DB=width,
        SPLITS=splits,
        FAST=out.fast,
        EMIT=out.packed,
        B=PACK_COLUMNS,
        num_warps=2,
        **chained(qkv),
    )


def turn_many(
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    place: Tensor,
    *,
    traits: Traits,
    angles: Tensor | None,
    rope: Rope | None,
    q_norm: Norm | None,
    k_norm: Norm | None,
) -> None:
    """Many tokens' products (new, (heads + 2 kv_heads) · head_dim) to queries (heads, new, head_dim) and the cache.

    place: int32 on the device, the first token's position and how many of the tokens count.
    """
    new = len(qkv)
    kind = "none" if q_norm is None or k_norm is None else traits.head_norm or "none"
    cos, sin = (qkv, qkv) if angles is None else (angles[0], angles[1])
    attention.turn_many[new, traits.heads + 2 * traits.kv_heads](
        queries,
        keys,
        values,
        qkv,
        cos,
        sin,
        None if q_norm is None else q_norm.weight,
        None if q_norm is None else q_norm.bias,
        None if k_norm is None else k_norm.weight,
        None if k_norm is None else k_norm.bias,
        _row_stride(q_norm, traits.head_dim),
        traits.heads,
        traits.kv_heads,
        new,
        place,
        keys.shape[1],
        traits.norm_eps if q_norm is None else q_norm.eps,
        D=traits.head_dim,
        DB=padded(traits.head_dim),
        NROT=0 if rope is None else rope.n_rot,
        PAIRS="none" if rope is None else rope.pairs,
        NORM=kind,
        KIND=traits.norm if q_norm is None else q_norm.kind,
        num_warps=1,
        **chained(qkv),
    )


def attend_many(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    out: Tensor,
    place: Tensor,
    *,
    traits: Traits,
    window: int | None,
) -> None:
    """Queries (heads, new, head_dim) bfloat16 over the cache up to themselves → out (new, heads · head_dim)."""
    new = queries.shape[1]
    attention.attend_many[-(-new // QUERY_BLOCK), traits.heads](
        out,
        queries,
        keys,
        values,
        traits.heads,
        traits.kv_heads,
        new,
        place,
        keys.shape[1],
        window or 0,
        traits.attention_scale,
        traits.attention_softcap or 1.0,
        D=traits.head_dim,
        DB=padded(traits.head_dim),
        WINDOW=window is not None,
        CAPPED=traits.attention_softcap is not None,
        M=QUERY_BLOCK,
        P=KEY_BLOCK,
        num_warps=4,
        **chained(queries),
    )
