"""Triton kernels between matrix products: residual and norm, gated activations, dequantization, argmax.

A kernel whose result is multiplied next also packs it as `products` reads it: by groups of 32 columns, element (or int8
word) j of all groups contiguous, with sums over 16 columns for the terms of minima and zero points.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def begin(CHAINED: tl.constexpr):
    """Let the next kernel launch (programmatic dependent launch), then wait for the writes of the previous ones.

    A kernel that launches early has its programs scheduled, and can prefetch weights, while the previous one runs.
    """
    if CHAINED:
        gdc_launch_dependents()
        gdc_wait()


@triton.jit
def activate(x, ACT: tl.constexpr):
    """Apply silu, gelu or gelu_tanh; anything else is the identity."""
    if ACT == "silu":
        return x / (1.0 + tl.exp(-x))
    if ACT == "gelu":
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    if ACT == "gelu_tanh":
        inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
        return x * (1.0 - 1.0 / (tl.exp(2.0 * inner) + 1.0))
    return x


@triton.jit
def pack_row(
    values,
    k0,
    columns,
    plain,
    x,
    xd,
    xs,
    groups,
    B: tl.constexpr,
    FAST: tl.constexpr,
    PACK: tl.constexpr,
):
    """Write values (B,) as the columns from k0 on of a row: plain, and if PACK, packed for the products.

    k0 and B are multiples of 32. The last group is padded with zeros beyond `columns`; nothing else is written there.
    """
    k = k0 + tl.arange(0, B)
    tl.store(plain + k, values.to(plain.dtype.element_ty), mask=k < columns)
    if PACK:
        values = tl.where(k < columns, values, 0.0)
        limit = tl.cdiv(columns, 32)
        g = k0 // 32 + tl.arange(0, B // 32)
        inside = g < limit
        if FAST:
            grouped = tl.reshape(values, (B // 32, 32))
            step = tl.max(tl.abs(grouped), 1) / 127.0
            scaled = grouped / tl.where(step > 0, step, 1.0)[:, None]
            rounded = (
                scaled + 12582912.0
            ) - 12582912.0  # rounds to nearest even: floats beyond 2²³ are integers
            bytes = tl.reshape(rounded.to(tl.int32) & 255, (B // 4, 4))
            words = tl.sum(bytes << (8 * tl.arange(0, 4))[None, :], 1)
            w = k0 // 4 + tl.arange(0, B // 4)
            tl.store(x + (w % 8) * groups + w // 8, words, mask=w // 8 < limit)
            tl.store(xd + g, step, mask=inside)
            grouped = rounded * step[:, None]
        else:
            tl.store(x + (k % 32) * groups + k // 32, values, mask=k < 32 * limit)
            grouped = values
        sums = tl.sum(tl.reshape(grouped, (B // 32, 2, 16)), 2)
        half = tl.arange(0, 2)[None, :]
        tl.store(xs + half * groups + g[:, None], sums, mask=inside[:, None])


@triton.jit
def row_of(m, columns, plain, x, xd, xs, groups, FAST: tl.constexpr):
    """Pointers to row m of each buffer of packed activations."""
    return (
        plain + m.to(tl.int64) * columns,
        x + m * groups * (8 if FAST else 32),
        xd + m * groups,
        xs + m * groups * 2,
    )


@triton.jit
def _moments(x, inside, width, eps, KIND: tl.constexpr):
    """(mean, 1 / deviation) of a row: what a norm subtracts and what it multiplies by, before its weight."""
    mean = 0.0
    factor = 1.0
    if KIND == "layer":
        mean = tl.sum(x, 0) / width
        x = tl.where(inside, x - mean, 0.0)
    if KIND != "none":
        factor = 1.0 / tl.sqrt(tl.sum(x * x, 0) / width + eps)
    return mean, factor


@triton.jit
def _apply(x, mean, factor, by, bias, k, inside, KIND: tl.constexpr):
    if KIND != "none":
        x = (x - mean) * factor * by
        if bias is not None:
            x += tl.load(bias + k, mask=inside, other=0.0)
    return x


@triton.jit
def _sum(parts, shares, k, inside, part_stride, rows, PARTS: tl.constexpr):
    got = tl.zeros(k.shape, tl.float32)
    for p in tl.static_range(PARTS):
        part = tl.load(parts + p * part_stride + k, mask=inside, other=0.0)
        if shares is not None:
            part *= tl.load(shares + p * rows)
        got += part
    return got


@triton.jit
def add_and_norm(
    hidden_in,
    hidden_out,
    parts,
    shares,
    post_weight,
    post_bias,
    weight,
    bias,
    plain,
    x,
    xd,
    xs,
    width,
    groups,
    part_stride,
    scale,
    eps,
    PARTS: tl.constexpr,
    POST: tl.constexpr,
    KIND: tl.constexpr,
    FAST: tl.constexpr,
    PACK: tl.constexpr,
    CHAINED: tl.constexpr,
    B: tl.constexpr,
    C: tl.constexpr,
):
    """hidden_out = hidden_in + scale · post_norm(Σ shares · parts), and its norm, packed for the next product.

    shares: (parts, rows), the weight of each part, or None for ones. Grid: blocks of C columns, each of which reads the
    whole row for the norm, and rows.
    """
    m, rows = tl.program_id(1), tl.num_programs(1)
    k0 = tl.program_id(0) * C
    c = k0 + tl.arange(0, C)
    within = c < width
    if KIND != "none":  # noqa: SIM108 only one branch is compiled; the weights are loaded before waiting
        by = tl.load(weight + c, mask=within, other=0.0)
    else:
        by = tl.full((C,), 1.0, tl.float32)
    begin(CHAINED)
    hidden_in += m.to(tl.int64) * width
    hidden_out += m.to(tl.int64) * width
    parts += m.to(tl.int64) * width
    if shares is not None:
        shares += m
    k = tl.arange(0, B)
    inside = k < width
    value = tl.load(hidden_in + k, mask=inside, other=0.0)
    block = tl.load(hidden_in + c, mask=within, other=0.0)
    if PARTS > 0:
        got = _sum(parts, shares, k, inside, part_stride, rows, PARTS)
        mean, factor = _moments(got, inside, width, eps, POST)
        if POST != "none":
            post_by = tl.load(post_weight + k, mask=inside, other=0.0)
            post_by_block = tl.load(post_weight + c, mask=within, other=0.0)
        else:
            post_by = 1.0
            post_by_block = 1.0
        value += scale * _apply(got, mean, factor, post_by, post_bias, k, inside, POST)
        got = _sum(parts, shares, c, within, part_stride, rows, PARTS)
        block += scale * _apply(got, mean, factor, post_by_block, post_bias, c, within, POST)
        tl.store(hidden_out + c, block, mask=within)
    mean, factor = _moments(value, inside, width, eps, KIND)
    normed = _apply(block, mean, factor, by, bias, c, within, KIND)
    plain, x, xd, xs = row_of(m, width, plain, x, xd, xs, groups, FAST)
    pack_row(normed, k0, width, plain, x, xd, xs, groups, C, FAST, PACK)


@triton.jit
def gate(
    first,
    second,
    plain,
    x,
    xd,
    xs,
    columns,
    groups,
    row_stride,
    part_stride,
    PARTS: tl.constexpr,
    ACT: tl.constexpr,
    GATED: tl.constexpr,
    FAST: tl.constexpr,
    PACK: tl.constexpr,
    CHAINED: tl.constexpr,
    B: tl.constexpr,
):
    """Pack act(Σ first) · Σ second, summed over split-k parts, or act(Σ first). Grid: blocks of columns, and rows."""
    begin(CHAINED)
    k0, m = tl.program_id(0) * B, tl.program_id(1)
    k = k0 + tl.arange(0, B)
    inside = k < columns
    first += m.to(tl.int64) * row_stride
    second += m.to(tl.int64) * row_stride
    value = tl.load(first + k, mask=inside, other=0.0)
    if GATED:
        factor = tl.load(second + k, mask=inside, other=0.0)
    for p in tl.static_range(1, PARTS):
        value += tl.load(first + p * part_stride + k, mask=inside, other=0.0)
        if GATED:
            factor += tl.load(second + p * part_stride + k, mask=inside, other=0.0)
    value = activate(value, ACT)
    if GATED:
        value *= factor
    plain, x, xd, xs = row_of(m, columns, plain, x, xd, xs, groups, FAST)
    pack_row(value, k0, columns, plain, x, xd, xs, groups, B, FAST, PACK)


@triton.jit
def _code(codes, high, at, high_at, k, lane, BITS: tl.constexpr):
    """Integer codes of columns k (0 … 31) of the groups at offset `at`."""
    if BITS == 8:
        return (tl.load(codes + at + k // 4 * 32 + lane) >> (k % 4 * 8)) & 255
    within = k % 16
    shift = within % 4 * 8
    code = (tl.load(codes + at + within // 4 * 32 + lane) >> (shift + k // 16 * 4)) & 15
    if BITS == 5:
        code |= ((tl.load(high + high_at + lane) >> (shift + k // 16 * 4 + within // 4)) & 1) << 4
    if BITS == 6:
        code |= ((tl.load(high + high_at + k // 16 * 32 + lane) >> (shift + within // 4 * 2)) & 3) << 4
    return code


@triton.jit
def widen_rows(
    out,
    ids,
    codes,
    high,
    scale,
    minimum,
    d,
    dmin,
    row_scale,
    columns,
    factor,
    BITS: tl.constexpr,
    HALVES: tl.constexpr,
    ZERO: tl.constexpr,
    CHAINED: tl.constexpr,
    B: tl.constexpr,
):
    """Dequantize the rows `ids` to float32, times a factor. Grid: blocks of columns, and ids."""
    begin(CHAINED)
    k = tl.program_id(0) * B + tl.arange(0, B)
    m = tl.program_id(1)
    row = tl.load(ids + m).to(tl.int64)
    groups = columns // 32
    inside = k < columns
    k = tl.minimum(k, columns - 1)
    tile, lane, g = row // 32, row % 32, k // 32
    at = (tile * groups + g) * (256 if BITS == 8 else 128)
    code = _code(codes, high, at, (tile * groups + g) * ((BITS - 4) * 32), k % 32, lane, BITS)
    sc = ((tile * groups + g) * HALVES + (k % 32 // 16 if HALVES == 2 else 0)) * 32 + lane
    block = (tile * (groups // 8) + g // 8) * 32 + lane
    wide = tl.load(scale + sc).to(tl.float32)
    if d is not None:
        wide *= tl.load(d + block).to(tl.float32)
    w = wide * (code - ZERO).to(tl.float32)
    if minimum is not None:
        least = tl.load(minimum + sc).to(tl.float32)
        if dmin is not None:
            least *= tl.load(dmin + block).to(tl.float32)
        w -= least
    if row_scale is not None:
        w *= tl.load(row_scale + row)
    tl.store(out + m.to(tl.int64) * columns + k, w * factor, mask=inside)


@triton.jit
def widen_tiles(
    out,
    codes,
    high,
    scale,
    minimum,
    d,
    dmin,
    row_scale,
    start,
    rows,
    groups,
    out_stride,
    BITS: tl.constexpr,
    HALVES: tl.constexpr,
    ZERO: tl.constexpr,
    G: tl.constexpr,
):
    """Dequantize rows [start, start + rows) into out, (columns, out_stride) of any float type. G groups per program."""
    r = tl.program_id(0) * 32 + tl.arange(0, 32)
    row0 = start + tl.program_id(0) * 32
    tile = (row0 // 32).to(tl.int64)
    lane = tl.arange(0, 32)[None, :]
    g = tl.program_id(1) * G + tl.arange(0, G)
    g = tl.minimum(g, groups - 1)
    block = (tile * (groups // 8) + g // 8)[:, None] * 32 + lane
    at = ((tile * groups + g) * (256 if BITS == 8 else 128))[:, None]
    high_at = ((tile * groups + g) * ((BITS - 4) * 32))[:, None]
    for half in tl.static_range(2):
        sc = ((tile * groups + g) * HALVES + (half if HALVES == 2 else 0))[:, None] * 32 + lane
        wide = tl.load(scale + sc).to(tl.float32)
        if d is not None:
            wide *= tl.load(d + block).to(tl.float32)
        if minimum is not None:
            least = tl.load(minimum + sc).to(tl.float32)
            if dmin is not None:
                least *= tl.load(dmin + block).to(tl.float32)
        for i in tl.static_range(16):
            code = _code(codes, high, at, high_at, 16 * half + i, lane, BITS)
            w = wide * (code - ZERO).to(tl.float32)
            if minimum is not None:
                w -= least
            if row_scale is not None:
                w *= tl.load(row_scale + start + r, mask=r < rows, other=0.0)[None, :]
            k = (g * 32 + 16 * half + i).to(tl.int64)[:, None]
            tl.store(out + k * out_stride + r[None, :], w.to(out.dtype.element_ty), mask=(r < rows)[None, :])


@triton.jit
def _mask(logits, never, i, inside):
    """Logits with −∞ for masked ids, and ∞ for NaN: NumPy's argmax takes the first NaN."""
    value = tl.load(logits + i, mask=inside, other=float("-inf"))
    value = tl.where(value == value, value, float("inf"))
    return value + tl.load(never + i, mask=inside, other=0.0)


@triton.jit
def top_of_blocks(tops, logits, never, width, share, CHAINED: tl.constexpr, B: tl.constexpr):
    """The largest logit in each share of the vocabulary. Grid: shares, and rows."""
    begin(CHAINED)
    row = tl.program_id(1)
    logits += row.to(tl.int64) * width
    never += row.to(tl.int64) * width
    first = tl.program_id(0) * share
    last = tl.minimum(first + share, width)
    top = tl.full((B,), float("-inf"), tl.float32)
    for start in range(first, last, B):
        i = start + tl.arange(0, B)
        top = tl.maximum(top, _mask(logits, never, i, i < last))
    tl.store(tops + row * tl.num_programs(0) + tl.program_id(0), tl.max(top, 0))


@triton.jit
def first_top(
    token, position, tops, logits, never, width, share,
    PROGRAMS: tl.constexpr, CHAINED: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Argmax of each row, the lowest id among equal logits; also increments the position. Grid: rows."""
    begin(CHAINED)
    row = tl.program_id(0)
    logits += row.to(tl.int64) * width
    never += row.to(tl.int64) * width
    programs = tl.arange(0, PROGRAMS)
    every = tl.load(tops + row * PROGRAMS + programs)
    top = tl.max(every, 0)
    chosen = tl.min(tl.where(every == top, programs, PROGRAMS), 0)
    first = chosen * share
    last = tl.minimum(first + share, width)
    found = tl.full((B,), 2147483647, tl.int32)
    for start in range(first, last, B):
        i = start + tl.arange(0, B)
        value = _mask(logits, never, i, i < last)
        found = tl.minimum(found, tl.where((value == top) & (i < last), i, 2147483647))
    tl.store(token + row, tl.min(found, 0).to(tl.int64))
    tl.store(position + row, tl.load(position + row) + 1)
