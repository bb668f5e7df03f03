"""Triton kernels: attention over the KV cache of one new token or of many, with the norms and RoPE before it."""

from __future__ import annotations

import triton
import triton.language as tl

from llorch.runtime.kernels.cuda.pointwise import begin, pack_row, row_of


@triton.jit
def _row(qkv, first, i, inside, stride, PARTS: tl.constexpr):
    """Columns first + i of the sum of a product's split-k parts, which are `stride` apart."""
    value = tl.load(qkv + first + i, mask=inside, other=0.0)
    for p in tl.static_range(1, PARTS):
        value += tl.load(qkv + p * stride + first + i, mask=inside, other=0.0)
    return value


@triton.jit
def _moments(
    qkv, first, width, stride, eps, PARTS: tl.constexpr, NORM: tl.constexpr, KIND: tl.constexpr, B: tl.constexpr
):  # fmt: skip
    """(mean, 1 / deviation) over `width` columns: what a norm subtracts and what it multiplies by."""
    mean = 0.0
    factor = 1.0
    if NORM != "none":
        if KIND == "layer":
            total = tl.zeros((B,), tl.float32)
            for start in range(0, width, B):
                i = start + tl.arange(0, B)
                total += _row(qkv, first, i, i < width, stride, PARTS)
            mean = tl.sum(total, 0) / width
        squares = tl.zeros((B,), tl.float32)
        for start in range(0, width, B):
            i = start + tl.arange(0, B)
            value = tl.where(i < width, _row(qkv, first, i, i < width, stride, PARTS) - mean, 0.0)
            squares += value * value
        factor = 1.0 / tl.sqrt(tl.sum(squares, 0) / width + eps)
    return mean, factor


@triton.jit
def _head_moments(
    qkv, first, head, heads, stride, eps,
    PARTS: tl.constexpr, D: tl.constexpr, DB: tl.constexpr, NORM: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """The moments of the norm of one head: its own, or those of all heads together (NORM "row")."""
    if NORM == "row":
        mean, factor = _moments(qkv, first, heads * D, stride, eps, PARTS, NORM, KIND, 1024)
    else:
        mean, factor = _moments(qkv, first + head * D, D, stride, eps, PARTS, NORM, KIND, DB)
    return mean, factor


@triton.jit
def _rotate(
    qkv, first, head, i, mean, factor, cos, sin, weight, bias, weight_stride, stride,
    PARTS: tl.constexpr, D: tl.constexpr, NROT: tl.constexpr, PAIRS: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Columns i of one head of the query or the key: normed, then rotated by the angles of its position."""
    inside = i < D
    at = first + head * D
    if PAIRS == "interleaved":
        other = tl.where(i < NROT, i ^ 1, i)
        leads = i % 2 == 0
        angle = i // 2
    else:
        other = tl.where(i < NROT, tl.where(i < NROT // 2, i + NROT // 2, i - NROT // 2), i)
        leads = i < NROT // 2
        angle = i % (NROT // 2 if NROT > 1 else 1)
    x = _row(qkv, at, i, inside, stride, PARTS)
    y = _row(qkv, at, other, inside, stride, PARTS)
    if NORM != "none":
        x = (x - mean) * factor * tl.load(weight + head * weight_stride + i, mask=inside, other=0.0)
        y = (y - mean) * factor * tl.load(weight + head * weight_stride + other, mask=inside, other=0.0)
        if bias is not None:
            x += tl.load(bias + head * weight_stride + i, mask=inside, other=0.0)
            y += tl.load(bias + head * weight_stride + other, mask=inside, other=0.0)
    if PAIRS != "none":
        rotates = i < NROT
        c = tl.load(cos + angle, mask=rotates, other=1.0)
        s = tl.load(sin + angle, mask=rotates, other=0.0)
        x = x * c + tl.where(leads, -y, y) * s
    return x


@triton.jit
def _cache(stored, cache_at, layer):
    """Pointer to the keys of a layer in one request's cache; cache_at holds the cache's distance from `stored`."""
    return stored + tl.multiple_of(tl.load(cache_at), 16) + layer


@triton.jit
def _score(score, scale, softcap, CAPPED: tl.constexpr):
    score *= scale
    if CAPPED:
        score = softcap * (1.0 - 2.0 / (tl.exp(2.0 * score / softcap) + 1.0))
    return score


@triton.jit
def attend_one(
    sums,
    tops,
    qkv,
    stored,
    cache_at,
    angles_at,
    position,
    layer,
    q_weight,
    q_bias,
    k_weight,
    k_bias,
    norm_stride,
    heads,
    kv_heads,
    row_stride,
    stride,
    capacity,
    window,
    scale,
    softcap,
    eps,
    PARTS: tl.constexpr,
    D: tl.constexpr,
    DB: tl.constexpr,
    NROT: tl.constexpr,
    PAIRS: tl.constexpr,
    NORM: tl.constexpr,
    KIND: tl.constexpr,
    WINDOW: tl.constexpr,
    CAPPED: tl.constexpr,
    SPLITS: tl.constexpr,
    CHAINED: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    """Attention of one head over one split of the cached positions; the last split also adds and stores the new token.

    Grid: heads, splits, and rows; a row is a request with its own position and cache. cache_at, angles_at: (rows,), the
    distance, in float32 elements, of the row's cache and cosines from `stored`. layer: elements from the start of a
    cache to the layer's keys, (kv_heads, capacity, D); the values follow the keys, as the sines follow the cosines,
    (capacity, NROT / 2). Scores are summed over CHUNK columns at a time: a whole head in one row of a tile costs a
    reduction over all threads for each position. Written are, for `combine`, sums: (rows, heads, splits, DB),
    Σ exp(score − top) · value; and tops: (rows, heads, splits, 2), the largest score and Σ exp(score − top).
    """
    begin(CHAINED)
    head, split, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    group = heads // kv_heads
    kv = head // group
    pos = tl.load(position + row).to(tl.int32)
    i = tl.arange(0, DB)
    inside = i < D
    qkv += row * row_stride
    keys = _cache(stored, cache_at + row, layer)
    values = keys + (kv_heads * capacity).to(tl.int64) * D
    cos = stored
    sin = stored
    if NROT > 0:
        cos = _cache(stored, angles_at + row, pos * (NROT // 2))
        sin = cos + capacity * (NROT // 2)
    q_mean, q_factor = _head_moments(qkv, 0, head, heads, stride, eps, PARTS, D, DB, NORM, KIND)
    k_mean, k_factor = _head_moments(qkv, heads * D, kv, kv_heads, stride, eps, PARTS, D, DB, NORM, KIND)
    keys += (kv * capacity).to(tl.int64) * D
    values += (kv * capacity).to(tl.int64) * D
    q = ()
    k_new = ()
    newest = tl.zeros((CHUNK,), tl.float32)
    for c in tl.static_range(CHUNKS):
        j = c * CHUNK + tl.arange(0, CHUNK)
        q_chunk = _rotate(
            qkv, 0, head, j, q_mean, q_factor, cos, sin, q_weight, q_bias, norm_stride, stride,
            PARTS, D, NROT, PAIRS, NORM,
        )  # fmt: skip
        k_chunk = _rotate(
            qkv, heads * D, kv, j, k_mean, k_factor, cos, sin, k_weight, k_bias, norm_stride, stride,
            PARTS, D, NROT, PAIRS, NORM,
        )  # fmt: skip
        newest += q_chunk * k_chunk
        q += (q_chunk,)  # type: ignore[assignment]
        k_new += (k_chunk,)  # type: ignore[assignment]
    newest = _score(tl.sum(newest, 0), scale, softcap, CAPPED)
    v_new = _row(qkv, (heads + kv_heads) * D + kv * D, i, inside, stride, PARTS)
    oldest = 0
    if WINDOW:
        oldest = tl.maximum(pos - window + 1, 0)
    share = tl.cdiv(tl.cdiv(pos - oldest, SPLITS), P) * P
    first = oldest + split * share
    last = tl.minimum(first + share, pos)
    top = float("-inf")
    total = 0.0
    acc = tl.zeros((DB,), tl.float32)
    for start in range(first, last, P):
        at = start + tl.arange(0, P)
        seen = at < last
        v = tl.load(values + at[:, None] * D + i[None, :], mask=seen[:, None] & inside[None, :], other=0.0)
        products = tl.zeros((P, CHUNK), tl.float32)
        for c in tl.static_range(CHUNKS):
            j = c * CHUNK + tl.arange(0, CHUNK)
            k = tl.load(keys + at[:, None] * D + j[None, :], mask=seen[:, None] & (j < D)[None, :], other=0.0)
            products += k * q[c][None, :]
        score = _score(tl.sum(products, 1), scale, softcap, CAPPED)
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 0))
        weight = tl.exp(score - higher)
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(weight, 0)
        acc = acc * shrink + tl.sum(weight[:, None] * v, 0)
        top = higher
    if split == SPLITS - 1:
        higher = tl.maximum(top, newest)
        shrink = tl.exp(top - higher)
        weight = tl.exp(newest - higher)
        total = total * shrink + weight
        acc = acc * shrink + weight * v_new
        top = higher
        if head % group == 0:
            for c in tl.static_range(CHUNKS):
                j = c * CHUNK + tl.arange(0, CHUNK)
                tl.store(keys + pos * D + j, k_new[c], mask=j < D)
            tl.store(values + pos * D + i, v_new, mask=inside)
    at = (row * heads + head) * SPLITS + split
    tl.store(sums + at * DB + i, acc)
    tl.store(tops + at * 2, top)
    tl.store(tops + at * 2 + 1, total)


@triton.jit
def combine(
    plain, x, xd, xs, sums, tops, heads, columns, groups,
    D: tl.constexpr, DB: tl.constexpr, SPLITS: tl.constexpr, FAST: tl.constexpr, PACK: tl.constexpr,
    CHAINED: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Combine the splits of all heads into rows (heads · D) and pack them. Grid: blocks of B columns, and rows."""
    begin(CHAINED)
    k0, row = tl.program_id(0) * B, tl.program_id(1)
    k = k0 + tl.arange(0, B)
    inside = (k < columns)[None, :]
    share = (row * heads + k // D)[None, :] * SPLITS + tl.arange(0, SPLITS)[:, None]
    top = tl.load(tops + share * 2, mask=inside, other=0.0)
    total = tl.load(tops + share * 2 + 1, mask=inside, other=1.0)
    acc = tl.load(sums + share * DB + (k % D)[None, :], mask=inside, other=0.0)
    weight = tl.exp(top - tl.max(top, 0)[None, :])
    mixed = tl.sum(weight * acc, 0) / tl.sum(weight * total, 0)
    plain, x, xd, xs = row_of(row, columns, plain, x, xd, xs, groups, FAST)
    pack_row(mixed, k0, columns, plain, x, xd, xs, groups, B, FAST, PACK)


@triton.jit
def rotate_many(
    queries,
    qkv,
    stored,
    cache_at,
    angles_at,
    layer,
    q_weight,
    q_bias,
    k_weight,
    k_bias,
    norm_stride,
    heads,
    kv_heads,
    new,
    place,
    capacity,
    eps,
    D: tl.constexpr,
    DB: tl.constexpr,
    NROT: tl.constexpr,
    PAIRS: tl.constexpr,
    NORM: tl.constexpr,
    KIND: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Norm and rotate the queries of many tokens, (heads, new, D), and write their keys and values into the cache.

    qkv: (new, (heads + 2 kv_heads) · D). stored, cache_at, angles_at, layer: as in `attend_one`, for one request.
    place: the position of the first token, and the number of tokens that are not padding.
    Grid: tokens, and heads: those of the queries, then the keys, then the values.
    """
    begin(CHAINED)
    first = tl.load(place).to(tl.int32)
    known = tl.load(place + 1).to(tl.int32)
    t, head = tl.program_id(0), tl.program_id(1)
    i = tl.arange(0, DB)
    inside = i < D
    qkv += t.to(tl.int64) * ((heads + 2 * kv_heads) * D)
    kept = i < tl.where(t < known, D, 0)
    keys = _cache(stored, cache_at, layer)
    values = keys + (kv_heads * capacity).to(tl.int64) * D
    cos = stored
    sin = stored
    if NROT > 0:
        cos = _cache(stored, angles_at, tl.minimum(first + t, capacity - 1) * (NROT // 2))
        sin = cos + capacity * (NROT // 2)
    if head < heads:
        mean, factor = _head_moments(qkv, 0, head, heads, 0, eps, 1, D, DB, NORM, KIND)
        q = _rotate(
            qkv, 0, head, i, mean, factor, cos, sin, q_weight, q_bias, norm_stride, 0, 1, D, NROT, PAIRS, NORM
        )
        tl.store(queries + (head * new + t).to(tl.int64) * D + i, q.to(queries.dtype.element_ty), mask=inside)
    elif head < heads + kv_heads:
        kv = head - heads
        mean, factor = _head_moments(qkv, heads * D, kv, kv_heads, 0, eps, 1, D, DB, NORM, KIND)
        k = _rotate(
            qkv, heads * D, kv, i, mean, factor, cos, sin, k_weight, k_bias, norm_stride, 0, 1, D, NROT, PAIRS, NORM
        )  # fmt: skip
        tl.store(keys + (kv * capacity + first + t).to(tl.int64) * D + i, k, mask=kept)
    else:
        kv = head - heads - kv_heads
        v = _row(qkv, (heads + kv_heads) * D + kv * D, i, inside, 0, 1)
        tl.store(values + (kv * capacity + first + t).to(tl.int64) * D + i, v, mask=kept)


@triton.jit
def attend_many(
    out,
    queries,
    stored,
    cache_at,
    layer,
    heads,
    kv_heads,
    new,
    place,
    capacity,
    window,
    scale,
    softcap,
    D: tl.constexpr,
    DB: tl.constexpr,
    WINDOW: tl.constexpr,
    CAPPED: tl.constexpr,
    CHAINED: tl.constexpr,
    M: tl.constexpr,
    P: tl.constexpr,
):
    """Causal attention of many new tokens on the tensor cores: bfloat16 operands, float32 accumulators.

    out: (new, heads · D). queries: (heads, new, D). stored, cache_at, layer, place: as in `rotate_many`. Grid: blocks
    of M tokens, and heads.
    """
    begin(CHAINED)
    first = tl.load(place).to(tl.int32)
    known = tl.load(place + 1).to(tl.int32)
    head = tl.program_id(1)
    kv = head // (heads // kv_heads)
    t = tl.program_id(0) * M + tl.arange(0, M)
    i = tl.arange(0, DB)
    inside = i < D
    here = (t < new)[:, None] & inside[None, :]
    q = tl.load(queries + (head * new + t).to(tl.int64)[:, None] * D + i[None, :], mask=here, other=0.0)
    keys = _cache(stored, cache_at, layer) + (kv * capacity).to(tl.int64) * D
    values = keys + (kv_heads * capacity).to(tl.int64) * D
    position = first + t
    last = tl.minimum(first + tl.program_id(0) * M + M, first + known)
    oldest = 0
    if WINDOW:
        oldest = tl.maximum(first + tl.program_id(0) * M - window + 1, 0) // P * P
    top = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    acc = tl.zeros((M, DB), tl.float32)
    for start in range(oldest, last, P):
        at = start + tl.arange(0, P)
        both = (at < last)[:, None] & inside[None, :]
        k = tl.load(keys + at[:, None] * D + i[None, :], mask=both, other=0.0).to(tl.bfloat16)
        v = tl.load(values + at[:, None] * D + i[None, :], mask=both, other=0.0).to(tl.bfloat16)
        score = _score(tl.dot(q, tl.trans(k)), scale, softcap, CAPPED)
        seen = at[None, :] <= position[:, None]
        if WINDOW:
            seen = seen & (at[None, :] > position[:, None] - window)
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        weight = tl.exp(score - safe[:, None])
        shrink = tl.exp(top - safe)
        total = total * shrink + tl.sum(weight, 1)
        acc = acc * shrink[:, None] + tl.dot(weight.to(tl.bfloat16), v)
        top = higher
    mixed = acc / tl.where(total > 0, total, 1.0)[:, None]  # padding may have attended to nothing
    at_out = out + t.to(tl.int64)[:, None] * (heads * D) + head * D + i[None, :]
    tl.store(at_out, mixed.to(out.dtype.element_ty), mask=here)
