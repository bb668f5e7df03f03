"""The kernels called from torch tensors: how many programs of which size, and buffers of the right shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import torch
import triton
from torch import Tensor

from llorch.runtime.kernels.cuda import attention, pointwise, products
from llorch.runtime.kernels.cuda.planes import GROUP, TILE, Planes
from llorch.runtime.traits import Activation, NormKind, Rope, Traits

WIDEN_COLUMNS = 1024  # of a row that one program of `widen_rows` makes
WIDEN_GROUPS = 4
PACK_COLUMNS = 128
LEAST_GROUPS = 12  # of a program's share of the columns
NORM_COLUMNS = 512
QUERY_BLOCK, KEY_BLOCK = 64, 64
TOP_PROGRAMS, TOP_BLOCK = 128, 1024
FLOAT_ROWS, FLOAT_COLUMNS, FLOAT_WARPS = 8, 512, 4


class Norm(Protocol):
    """A norm as the decoder has it."""

    @property
    def kind(self) -> NormKind:
        """Which of the two."""

    @property
    def eps(self) -> float:
        """Added to the mean of squares."""

    @property
    def weight(self) -> Tensor | None:
        """(width,), or a row for every head; the kernels need one."""

    @property
    def bias(self) -> Tensor | None:
        """Of the weight's shape."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """Rows of activations as the products read them; `packed` is whether more than `plain` is written.

    plain: (m, columns) float32. x: (m, 32, groups) float32, or in fast mode (m, 8, groups) words of four signed
    bytes. xd: (m, groups), what such a byte is worth. xs: (m, 2, groups), sums over 16 columns.
    """

    plain: Tensor
    x: Tensor
    xd: Tensor
    xs: Tensor
    fast: bool
    packed: bool

    @classmethod
    def empty(cls, m: int, columns: int, device: torch.device, *, fast: bool, packed: bool = True) -> Emitted:
        """Buffers for m rows."""
        groups = -(-columns // GROUP)
        words = (8, torch.int32) if fast else (32, torch.float32)
        plain = torch.empty((m, columns), device=device)
        if not packed:
            return cls.row_major(plain)
        xs = torch.empty((m, 2, groups), device=device)
        x = torch.empty((m, words[0], groups), dtype=words[1], device=device)
        xd = torch.empty((m, groups), device=device) if fast else xs
        return cls(plain, x, xd, xs, fast, packed)

    @classmethod
    def row_major(cls, plain: Tensor) -> Emitted:
        """Only `plain`, of any float type."""
        return cls(plain, plain, plain, plain, False, False)

    @property
    def groups(self) -> int:
        """Groups of 32 columns."""
        return -(-self.plain.shape[-1] // GROUP)

    @property
    def buffers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four, in the kernels' order."""
        return self.plain, self.x, self.xd, self.xs


@dataclass(frozen=True, slots=True)
class Blocking:
    """How a product is cut. rows: of a program. side: groups of columns at a time. splits: programs along them."""

    rows: int
    side: int
    warps: int
    splits: int

    def with_splits(self, splits: int) -> Blocking:
        """The same, with another number of programs along the columns."""
        return replace(self, splits=splits)


def blocking(rows: int, planes: Planes, *, fast: bool) -> Blocking:
    """The fastest of those measured on one H200 for the shapes of docs/benchmarks.md, and for what lies between them.

    Few rows need their columns split, so that there are programs for every multiprocessor; four rows a thread and
    4 KB of codes asked for at once a warp are right for all.
    """
    groups, tiles = planes.columns // GROUP, -(-rows // TILE)
    if groups <= 32:
        if tiles > 1024:
            return Blocking(TILE, 32, 4, 1)
        return Blocking(TILE, 16, 2 if fast else 4, 2 if groups >= 2 * LEAST_GROUPS else 1)
    if tiles > 768:
        return Blocking(TILE, 16 if fast else 32, 4, 1)
    if tiles > 384:
        return Blocking(TILE, 16, 2, 2)
    if tiles > 192:
        return Blocking(TILE, 16, 4, _splits(groups, 8))
    return Blocking(
        TILE, 32, 8 if fast and planes.bits == 6 else 4, _splits(groups, 8 if groups >= 128 else 4)
    )


def _splits(groups: int, most: int) -> int:
    """As many programs along the columns, but that each has some groups."""
    while most > 1 and groups // most < LEAST_GROUPS:
        most //= 2
    return most


@cache
def _can_chain(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (9, 0)


def chained(t: Tensor) -> dict[str, bool]:
    """The options of a kernel that may start while the one before it still runs, where the device can do that."""
    can = t.is_cuda and _can_chain(t.device)
    return {"CHAINED": can, "launch_pdl": can} if can else {"CHAINED": False}


def pack(x: Tensor, *, fast: bool) -> Emitted:
    """Rows of activations (m, columns), float32, as the products read them."""
    out = Emitted.empty(len(x), x.shape[1], x.device, fast=fast)
    gated(x.contiguous()[:, None], None, out, None)
    return out


def gated(first: Tensor, second: Tensor | None, out: Emitted, activation: Activation | None) -> None:
    """act(Σ first) · Σ second, emitted: (m, parts, columns) float32, both perhaps cut out of the same wider rows."""
    m, columns = out.plain.shape
    pointwise.gated[-(-columns // PACK_COLUMNS), m](
        first,
        first if second is None else second,
        *out.buffers,
        columns,
        out.groups,
        first.stride(0),
        first.stride(1),
        PARTS=first.shape[1],
        ACT=activation or "none",
        GATED=second is not None,
        FAST=out.fast,
        EMIT=out.packed,
        B=PACK_COLUMNS,
        num_warps=2,
        **chained(first),
    )


def _planes(p: Planes) -> tuple[Tensor | None, ...]:
    return p.codes, p.high, p.scale, p.minimum, p.d, p.dmin


def packed_linear(
    planes: Planes,
    x: Emitted,
    y: Tensor,
    *,
    start: int = 0,
    rows: int | None = None,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
    per_expert: int = 0,
    cut: Blocking | None = None,
) -> None:
    """Rows [start, start + rows) of a packed matrix times x.

    y: (m, splits, …) float32, written along its last dimension from its first element on; the splits are the
    blocking's. start: a multiple of 32. expert: (m,) indices; each takes `per_expert` rows, a multiple of 32.
    """
    rows = planes.rows if rows is None else rows
    groups = planes.columns // GROUP
    cut = cut or blocking(rows, planes, fast=x.fast)
    m, splits = y.shape[:2]
    assert splits == cut.splits
    assert y.stride(0) == splits * y.stride(1)
    products.packed_linear[-(-rows // cut.rows), splits, m](
        y,
        bias,
        planes.row_scale,
        expert,
        *_planes(planes),
        x.x,
        x.xd,
        x.xs,
        start,
        rows,
        groups,
        -(-groups // splits),
        per_expert,
        y.stride(1),
        groups if len(x.plain) > 1 else 0,
        BITS=planes.bits,
        HALVES=planes.halves,
        ZERO=planes.zero,
        FAST=x.fast,
        PLAIN=products.INTERPRETED,
        BN=cut.rows,
        KS=cut.side,
        LINES=32 * cut.warps,
        num_warps=cut.warps,
        **chained(y),
    )


def float_linear(w: Tensor, x: Tensor, y: Tensor, bias: Tensor | None = None) -> None:
    """Weights (rows, columns) of any float type times rows of x (m, columns), both float32 → y (m, rows)."""
    rows, columns = w.shape
    products.float_linear[-(-rows // FLOAT_ROWS), len(x)](
        y,
        bias,
        w,
        x,
        rows,
        columns,
        w.stride(0),
        y.stride(0),
        x.stride(0),
        BN=FLOAT_ROWS,
        BK=min(FLOAT_COLUMNS, triton.next_power_of_2(columns)),
        num_warps=FLOAT_WARPS,
        **chained(y),
    )


def widen_rows(planes: Planes, ids: Tensor, out: Tensor, factor: float = 1.0) -> None:
    """The rows of these ids, (n, columns) float32, times a factor."""
    columns = planes.columns
    pointwise.widen_rows[-(-columns // WIDEN_COLUMNS), len(ids)](
        out,
        ids,
        *_planes(planes),
        planes.row_scale,
        columns,
        factor,
        BITS=planes.bits,
        HALVES=planes.halves,
        ZERO=planes.zero,
        B=WIDEN_COLUMNS,
        num_warps=4,
        **chained(out),
        enable_fp_fusion=False,  # a fused subtraction rounds once where the type's definition rounds twice
    )


def widen_tiles(planes: Planes, start: int, rows: int, dtype: torch.dtype) -> Tensor:
    """Rows [start, start + rows) as a view (rows, columns) of a new transposed tensor; start a multiple of 32."""
    groups = planes.columns // GROUP
    out = torch.empty((planes.columns, rows), dtype=dtype, device=planes.codes.device)
    pointwise.widen_tiles[-(-rows // TILE), -(-groups // WIDEN_GROUPS)](
        out,
        *_planes(planes),
        planes.row_scale,
        start,
        rows,
        groups,
        rows,
        BITS=planes.bits,
        HALVES=planes.halves,
        ZERO=planes.zero,
        G=WIDEN_GROUPS,
        num_warps=1,
        enable_fp_fusion=False,
    )
    return out.t()


def padded(width: int) -> int:
    """The power of two from `width` on, at least 32: Triton's vectors have no other length."""
    return max(GROUP, int(triton.next_power_of_2(width)))


def add_and_norm(
    hidden: Tensor,
    after: Tensor,
    parts: Tensor | None,
    shares: Tensor | None,
    post: Norm | None,
    norm: Norm | None,
    out: Emitted,
    scale: float,
) -> None:
    """after = hidden + scale · post(Σ shares · parts), and its norm, emitted.

    hidden, after: (m, width), not the same memory. parts: (n, m, width), or None: then `after` is not written.
    """
    m, width = hidden.shape
    some = norm or post
    block = min(NORM_COLUMNS, padded(width))
    pointwise.add_and_norm[-(-width // block), m](
        hidden,
        after,
        hidden if parts is None else parts,
        shares,
        None if post is None else post.weight,
        None if post is None else post.bias,
        None if norm is None else norm.weight,
        None if norm is None else norm.bias,
        *out.buffers,
        width,
        out.groups,
        0 if parts is None else parts.stride(0),
        scale,
        0.0 if some is None else some.eps,
        PARTS=0 if parts is None else len(parts),
        POST="none" if post is None else post.kind,
        KIND="none" if norm is None else norm.kind,
        FAST=out.fast,
        EMIT=out.packed,
        B=padded(width),
        C=block,
        num_warps=16 if m == 1 and width > 2048 else 4,
        **chained(hidden),
    )


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
    stride = (
        0
        if q_norm is None or q_norm.weight is None or q_norm.weight.numel() == traits.head_dim
        else traits.head_dim
    )
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
        stride,
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


def most_probable(logits: Tensor, never: Tensor, scratch: Tensor, token: Tensor, position: Tensor) -> None:
    """The first of the largest logits into `token` (1,) int64, and one more into `position`.

    never: (vocabulary,), −∞ where an id is not taken. scratch: (TOP_PROGRAMS,) float32.
    """
    width = len(logits)
    share = -(-width // TOP_PROGRAMS)
    pointwise.top_of_blocks[TOP_PROGRAMS,](
        scratch, logits, never, width, share, B=TOP_BLOCK, num_warps=4, **chained(logits)
    )
    pointwise.first_top[1,](
        token,
        position,
        scratch,
        logits,
        never,
        width,
        share,
        PROGRAMS=TOP_PROGRAMS,
        B=TOP_BLOCK,
        num_warps=4,
        **chained(logits),
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
    stride = (
        0
        if q_norm is None or q_norm.weight is None or q_norm.weight.numel() == traits.head_dim
        else traits.head_dim
    )
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
        stride,
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
