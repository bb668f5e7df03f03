"""Launch attention over the KV cache, for one token per request or for many of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from llorch.runtime.kernels.cuda import attention
from llorch.runtime.kernels.cuda.launch.activations import ActivationRows, chain_options, pad_width
from llorch.runtime.kernels.cuda.launch.rows import Norm
from llorch.runtime.kernels.cuda.planes import GROUP
from llorch.runtime.traits import Rope, Traits

QUERY_BLOCK, KEY_BLOCK = 64, 64
SHORT = 512  # positions of a cache up to which one warp with small tiles is faster than two with larger ones
CHUNK = 32  # columns of a head that are multiplied and added at a time


def _row_stride(norm: Norm | None, head_dim: int) -> int:
    """Stride between the norm weights of heads; 0 if all heads share them."""
    shared = norm is None or norm.weight is None or norm.weight.numel() == head_dim
    return 0 if shared else head_dim


@dataclass(frozen=True, slots=True)
class Caches:
    """The KV caches of some requests, by offsets in device memory, so that a recorded launch can read new ones.

    stored: any float32 tensor. at: (rows,) int64, the distance, in elements, from it to each row's cache, which is
    (layers, 2, kv_heads, capacity, head_dim). angles: for each rotary embedding the distance to its cosines and sines,
    (2, capacity, n_rot / 2).
    """

    stored: Tensor
    at: Tensor
    angles: Mapping[Rope, Tensor]
    capacity: int

    def layer(self, index: int, traits: Traits) -> int:
        """Elements from the start of a cache to a layer's keys."""
        return index * 2 * traits.kv_heads * self.capacity * traits.head_dim

    def angles_at(self, rope: Rope | None) -> Tensor:
        """Offsets of an embedding's cosines; unused for a layer without RoPE."""
        return self.at if rope is None else self.angles[rope]


def attend(
    qkv: Tensor,
    caches: Caches,
    position: Tensor,
    out: ActivationRows,
    *,
    layer: int,
    sums: Tensor,
    tops: Tensor,
    traits: Traits,
    q_norm: Norm | None,
    k_norm: Norm | None,
) -> None:
    """Attend with one token per row over that row's cache, and store its key and value at `position` (rows,).

    qkv: (rows, parts, (heads + 2 kv_heads) · head_dim), split-k parts. sums, tops: scratch, see the kernel.
    """
    rows, heads, splits, width = sums.shape
    rope, window = traits.ropes[layer], traits.windows[layer]
    short = caches.capacity <= SHORT
    attention.attend_one[heads, splits, rows](
        sums,
        tops,
        qkv,
        caches.stored,
        caches.at,
        caches.angles_at(rope),
        position,
        caches.layer(layer, traits),
        None if q_norm is None else q_norm.weight,
        None if q_norm is None else q_norm.bias,
        None if k_norm is None else k_norm.weight,
        None if k_norm is None else k_norm.bias,
        _row_stride(q_norm, traits.head_dim),
        heads,
        traits.kv_heads,
        qkv.stride(0),
        qkv.stride(1),
        caches.capacity,
        window or 0,
        traits.attention_scale,
        traits.attention_softcap or 1.0,
        traits.norm_eps if q_norm is None else q_norm.eps,
        PARTS=qkv.shape[1],
        D=traits.head_dim,
        DB=width,
        NROT=0 if rope is None else rope.n_rot,
        PAIRS="none" if rope is None else rope.pairs,
        NORM=_normed(traits, q_norm, k_norm),
        KIND=traits.norm if q_norm is None else q_norm.kind,
        WINDOW=window is not None,
        CAPPED=traits.attention_softcap is not None,
        SPLITS=splits,
        P=16 if short else 64,
        CHUNK=CHUNK,
        CHUNKS=-(-traits.head_dim // CHUNK),
        num_warps=1 if short else 2,
        **chain_options(qkv),
    )
    columns = out.plain.shape[1]
    attention.combine[-(-columns // GROUP), rows](
        *out.buffers,
        sums,
        tops,
        heads,
        columns,
        out.groups,
        D=traits.head_dim,
        DB=width,
        SPLITS=splits,
        FAST=out.fast,
        PACK=out.packed,
        B=GROUP,
        num_warps=1,
        **chain_options(qkv),
    )


def rotate_many(
    qkv: Tensor,
    caches: Caches,
    queries: Tensor,
    place: Tensor,
    *,
    layer: int,
    traits: Traits,
    q_norm: Norm | None,
    k_norm: Norm | None,
) -> None:
    """Split qkv (new, (heads + 2 kv_heads) · head_dim) into queries (heads, new, head_dim) and entries of one cache.

    Queries and keys are normed and rotated. place: on the device, the position of the first token and the number of
    tokens that are not padding.
    """
    new, rope = len(qkv), traits.ropes[layer]
    attention.rotate_many[new, traits.heads + 2 * traits.kv_heads](
        queries,
        qkv,
        caches.stored,
        caches.at,
        caches.angles_at(rope),
        caches.layer(layer, traits),
        None if q_norm is None else q_norm.weight,
        None if q_norm is None else q_norm.bias,
        None if k_norm is None else k_norm.weight,
        None if k_norm is None else k_norm.bias,
        _row_stride(q_norm, traits.head_dim),
        traits.heads,
        traits.kv_heads,
        new,
        place,
        caches.capacity,
        traits.norm_eps if q_norm is None else q_norm.eps,
        D=traits.head_dim,
        DB=pad_width(traits.head_dim),
        NROT=0 if rope is None else rope.n_rot,
        PAIRS="none" if rope is None else rope.pairs,
        NORM=_normed(traits, q_norm, k_norm),
        KIND=traits.norm if q_norm is None else q_norm.kind,
        num_warps=1,
        **chain_options(qkv),
    )


def attend_many(
    queries: Tensor, caches: Caches, out: Tensor, place: Tensor, *, layer: int, traits: Traits
) -> None:
    """Causal attention of bfloat16 queries (heads, new, head_dim) over one cache → out (new, heads · head_dim)."""
    new, window = queries.shape[1], traits.windows[layer]
    attention.attend_many[-(-new // QUERY_BLOCK), traits.heads](
        out,
        queries,
        caches.stored,
        caches.at,
        caches.layer(layer, traits),
        traits.heads,
        traits.kv_heads,
        new,
        place,
        caches.capacity,
        window or 0,
        traits.attention_scale,
        traits.attention_softcap or 1.0,
        D=traits.head_dim,
        DB=pad_width(traits.head_dim),
        WINDOW=window is not None,
        CAPPED=traits.attention_softcap is not None,
        M=QUERY_BLOCK,
        P=KEY_BLOCK,
        num_warps=4,
        **chain_options(queries),
    )


def _normed(traits: Traits, q_norm: Norm | None, k_norm: Norm | None) -> str:
    """What the norm of queries and keys covers: nothing, each head, or the whole row."""
    return "none" if q_norm is None or k_norm is None else traits.head_norm or "none"
