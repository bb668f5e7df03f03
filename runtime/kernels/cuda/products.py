"""Triton kernels: a packed or float matrix times a few rows of activations; a row's bits don't depend on the others.

A thread computes four rows of the matrix and walks along the columns, so sums are reduced across threads only once, at
the end, over the groups of columns that a program processes side by side, in a fixed order. A product with many columns
and few rows is split over programs (split-k): each writes its own partial sum, which the next kernel adds, in order.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

INTERPRETED = triton.knobs.runtime.interpret  # Triton's interpreter has no inline assembly


@triton.jit
def _dot4(a, b, c, PLAIN: tl.constexpr):
    """c + Σ of the products of four unsigned and four signed bytes (dp4a)."""
    b = tl.broadcast_to(b, a.shape)
    if PLAIN:
        for i in tl.static_range(4):
            c += ((a >> 8 * i) & 255) * ((b << (24 - 8 * i)) >> 24)
        return c
    return tl.inline_asm_elementwise(
        "dp4a.u32.s32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, c], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def _fetch(codes, row0, first, last, groups, BITS: tl.constexpr, LINES: tl.constexpr):
    """Prefetch the codes of a program's groups into L2, before the activations are there to multiply by."""
    WORDS: tl.constexpr = 8 if BITS == 8 else 4
    codes += (row0 // 32).to(tl.int64) * groups * (WORDS * 32)
    for start in range(first * WORDS, last * WORDS, LINES):
        line = tl.minimum(start + tl.arange(0, LINES), last * WORDS - 1)
        address = (codes + line * 32).to(tl.int64, bitcast=True)
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.b32 $0, 0;",
            "=r,l",
            [address],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def _codes(codes, at, above, above2, j: tl.constexpr, BITS: tl.constexpr):
    """Word j of both halves of a group, one code per byte."""
    low = tl.load(codes + at + 32 * j)
    if BITS == 8:
        return low, tl.load(codes + at + 32 * (4 + j))
    first = low & 0x0F0F0F0F
    second = (low >> 4) & 0x0F0F0F0F
    if BITS == 5:
        first |= (above << (4 - j)) & 0x10101010
        second |= (above >> j) & 0x10101010
    if BITS == 6:
        if j < 2:
            first |= (above << (4 - 2 * j)) & 0x30303030
            second |= (above2 << (4 - 2 * j)) & 0x30303030
        else:
            first |= (above >> (2 * j - 4)) & 0x30303030
            second |= (above2 >> (2 * j - 4)) & 0x30303030
    return first, second


@triton.jit
def _pick(codes, PERMUTE: tl.constexpr):
    """Build a float's bits from one byte of each word with one `prmt`, whose selector has to be a constant."""
    return tl.inline_asm_elementwise(PERMUTE, "=r,r", [codes], dtype=tl.int32, is_pure=True, pack=1)


@triton.jit
def _number(codes, b: tl.constexpr, ZERO: tl.constexpr, PLAIN: tl.constexpr):
    """Byte b minus the zero point as float32: 0x4B000000 | code are the bits of 2²³ + code."""
    if PLAIN:
        bits = ((codes >> 8 * b) & 255) | 0x4B000000
    elif b == 0:
        bits = _pick(codes, "{ .reg .b32 m; mov.b32 m, 0x4B000000; prmt.b32 $0, $1, m, 0x7650; }")
    elif b == 1:
        bits = _pick(codes, "{ .reg .b32 m; mov.b32 m, 0x4B000000; prmt.b32 $0, $1, m, 0x7651; }")
    elif b == 2:
        bits = _pick(codes, "{ .reg .b32 m; mov.b32 m, 0x4B000000; prmt.b32 $0, $1, m, 0x7652; }")
    else:
        bits = _pick(codes, "{ .reg .b32 m; mov.b32 m, 0x4B000000; prmt.b32 $0, $1, m, 0x7653; }")
    return bits.to(tl.float32, bitcast=True) - (8388608 + ZERO)


@triton.jit
def packed_product(
    codes,
    high,
    scale,
    minimum,
    d,
    dmin,
    x,
    xd,
    xs,
    row0,
    first,
    last,
    groups: tl.constexpr,
    BITS: tl.constexpr,
    HALVES: tl.constexpr,
    ZERO: tl.constexpr,
    FAST: tl.constexpr,
    PLAIN: tl.constexpr,
    BN: tl.constexpr,
    KS: tl.constexpr,
):
    """Products of rows [row0, row0 + BN) summed over groups [first, last), (BN,) float32; BN divides 32."""
    WORDS: tl.constexpr = 8 if BITS == 8 else 4
    lane = tl.arange(0, BN)[None, :]
    if BN < 32:
        lane += tl.multiple_of(row0 % 32, BN)
    tile = (row0 // 32).to(tl.int64)
    codes += tile * groups * (WORDS * 32)
    scale += tile * groups * (HALVES * 32)
    if minimum is not None:
        minimum += tile * groups * (HALVES * 32)
    if high is not None:
        high += tile * groups * ((BITS - 4) * 32)
    if d is not None:
        d += tile * (groups // 8) * 32
    if dmin is not None:
        dmin += tile * (groups // 8) * 32
    acc = tl.zeros((KS, BN), tl.float32)
    for start in range(first, last, KS):
        g = start + tl.arange(0, KS)
        inside = g < last
        g = tl.minimum(g, last - 1)  # beyond the end the last group is read again and multiplied by zeros
        at = (g * (WORDS * 32))[:, None] + lane
        above = tl.zeros((KS, BN), tl.int32)
        above2 = above
        if BITS == 5:
            above = tl.load(high + (g * 32)[:, None] + lane)
        if BITS == 6:
            above = tl.load(high + (g * 64)[:, None] + lane)
            above2 = tl.load(high + (g * 64 + 32)[:, None] + lane)
        if FAST:
            i0 = tl.zeros((KS, BN), tl.int32)
            i1 = tl.zeros((KS, BN), tl.int32)
            for j in tl.static_range(4):
                one, two = _codes(codes, at, above, above2, j, BITS)
                i0 = _dot4(one, tl.load(x + j * groups + g, mask=inside, other=0)[:, None], i0, PLAIN)
                i1 = _dot4(two, tl.load(x + (4 + j) * groups + g, mask=inside, other=0)[:, None], i1, PLAIN)
            step = tl.load(xd + g, mask=inside, other=0.0)[:, None]
            s0 = i0.to(tl.float32) * step
            s1 = i1.to(tl.float32) * step
        else:
            s0 = tl.zeros((KS, BN), tl.float32)
            s1 = tl.zeros((KS, BN), tl.float32)
            for j in tl.static_range(4):
                one, two = _codes(codes, at, above, above2, j, BITS)
                for b in tl.static_range(4):
                    x0 = tl.load(x + (4 * j + b) * groups + g, mask=inside, other=0.0)[:, None]
                    x1 = tl.load(x + (16 + 4 * j + b) * groups + g, mask=inside, other=0.0)[:, None]
                    s0 += _number(one, b, ZERO, PLAIN) * x0
                    s1 += _number(two, b, ZERO, PLAIN) * x1
        if FAST or minimum is not None:
            sum0 = tl.load(xs + g, mask=inside, other=0.0)[:, None]
            sum1 = tl.load(xs + groups + g, mask=inside, other=0.0)[:, None]
        if FAST and ZERO != 0:
            s0 -= ZERO * sum0
            s1 -= ZERO * sum1
        sc = (g * (HALVES * 32))[:, None] + lane
        total = tl.load(scale + sc).to(tl.float32)
        if HALVES == 2:
            total = total * s0 + tl.load(scale + sc + 32).to(tl.float32) * s1
        else:
            total *= s0 + s1
        block = (g // 8 * 32)[:, None] + lane
        if d is not None:
            total *= tl.load(d + block).to(tl.float32)
        acc += total
        if minimum is not None:
            least = tl.load(minimum + sc).to(tl.float32)
            if HALVES == 2:
                least = least * sum0 + tl.load(minimum + sc + 32).to(tl.float32) * sum1
            else:
                least *= sum0 + sum1
            if dmin is not None:
                least *= tl.load(dmin + block).to(tl.float32)
            acc -= least
    return tl.sum(acc, 0)


@triton.jit(do_not_specialize=["x_rows"])
def packed_linear(
    y,
    bias,
    row_scale,
    expert,
    codes,
    high,
    scale,
    minimum,
    d,
    dmin,
    x,
    xd,
    xs,
    start,
    rows,
    groups: tl.constexpr,
    per_split,
    per_expert,
    y_row_stride,
    y_split_stride,
    x_rows,
    BITS: tl.constexpr,
    HALVES: tl.constexpr,
    ZERO: tl.constexpr,
    FAST: tl.constexpr,
    PLAIN: tl.constexpr,
    CHAINED: tl.constexpr,
    BN: tl.constexpr,
    KS: tl.constexpr,
    LINES: tl.constexpr,
):
    """y[row, split, :] = W · x[row], over the columns of a split. Grid: blocks of matrix rows, splits, and rows of y.

    expert: for each row of y the index of a block of `per_expert` matrix rows; None takes the rows from `start` on.
    x_rows: rows of x; with experts row m of y reads row m % x_rows.
    """
    split, m = tl.program_id(1), tl.program_id(2)
    x_row = m
    if expert is not None:
        x_row = m % x_rows
    inner = tl.program_id(0) * BN
    row0 = start + inner
    first = split * per_split
    last = tl.minimum(first + per_split, groups)
    if CHAINED:
        if expert is None:
            _fetch(codes, row0, first, last, groups, BITS, LINES)
        gdc_wait()
    if expert is not None:
        row0 += tl.load(expert + m).to(tl.int32) * per_expert
    got = packed_product(
        codes,
        high,
        scale,
        minimum,
        d,
        dmin,
        x + x_row * groups * (8 if FAST else 32),
        xd + x_row * groups,
        xs + x_row * groups * 2,
        row0,
        first,
        last,
        groups,
        BITS,
        HALVES,
        ZERO,
        FAST,
        PLAIN,
        BN,
        KS,
    )
    if CHAINED:
        gdc_launch_dependents()  # not earlier: the next kernel's programs would displace this one's
    n = inner + tl.arange(0, BN)
    inside = n < rows
    if row_scale is not None:
        got *= tl.load(row_scale + row0 + tl.arange(0, BN), mask=inside, other=0.0)
    if bias is not None:  # noqa: SIM102 the outer condition is known at compile time, the inner one is not
        if split == 0:
            got += tl.load(bias + n, mask=inside, other=0.0)
    y += m.to(tl.int64) * y_row_stride + split * y_split_stride
    tl.store(y + n, got, mask=inside)


@triton.jit
def float_linear(
    y, bias, w, x, rows, columns, w_stride, y_stride, x_stride,
    CHAINED: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """y[m, :] = W · x[m] for weights (rows, columns) of any float type, as the file stores them."""
    if CHAINED:
        gdc_wait()
    m = tl.program_id(1)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    w += tl.minimum(n, rows - 1).to(tl.int64)[:, None] * w_stride
    x += m * x_stride
    acc = tl.zeros((BN, BK), tl.float32)
    for start in range(0, columns, BK):
        k = start + tl.arange(0, BK)
        inside = k < columns
        weights = tl.load(w + k[None, :], mask=inside[None, :], other=0.0).to(tl.float32)
        acc += weights * tl.load(x + k, mask=inside, other=0.0)[None, :]
    if CHAINED:
        gdc_launch_dependents()
    got = tl.sum(acc, 1)
    if bias is not None:
        got += tl.load(bias + n, mask=n < rows, other=0.0)
    tl.store(y + m.to(tl.int64) * y_stride + n, got, mask=n < rows)
