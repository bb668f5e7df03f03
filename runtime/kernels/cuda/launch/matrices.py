"""Launch the matrix products and the dequantization of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
from torch import Tensor

from llorch.runtime.kernels.cuda import pointwise, products
from llorch.runtime.kernels.cuda.launch.activations import ActivationRows, chain_options
from llorch.runtime.kernels.cuda.planes import GROUP, TILE, Planes

WIDEN_COLUMNS = 1024  # of a row, per program of `widen_rows`
WIDEN_GROUPS = 4
LEAST_GROUPS = 12  # per split of the columns
FLOAT_ROWS, FLOAT_COLUMNS, FLOAT_WARPS = 8, 512, 4


@dataclass(frozen=True, slots=True)
class Blocking:
    """How a product is divided. rows: per program. side: groups of columns at a time. splits: of the columns."""

    rows: int
    side: int
    warps: int
    splits: int

    def with_splits(self, splits: int) -> Blocking:
        """The same with another number of splits."""
        return replace(self, splits=splits)


def blocking(rows: int, planes: Planes, *, fast: bool) -> Blocking:
    """The fastest blocking measured on one H200 for the shapes of docs/benchmarks.md, and for shapes between them.

    With few rows the columns are split, so that every multiprocessor has a program. Four rows per thread and 4 KB of
    codes in flight per warp are best for all shapes.
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
    """The most splits, by halving, such that each has at least LEAST_GROUPS groups."""
    while most > 1 and groups // most < LEAST_GROUPS:
        most //= 2
    return most


def _planes(p: Planes) -> tuple[Tensor | None, ...]:
    return p.codes, p.high, p.scale, p.minimum, p.d, p.dmin


def packed_linear(
    planes: Planes,
    x: ActivationRows,
    y: Tensor,
    *,
    start: int = 0,
    rows: int | None = None,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
    per_expert: int = 0,
    cut: Blocking | None = None,
) -> None:
    """Multiply rows [start, start + rows) of a packed matrix by x.

    y: (m, splits, …) float32; the first `rows` elements of its last dimension are written; splits as in the blocking.
    x: m rows. start: a multiple of 32. expert: (m,) indices of blocks of `per_expert` matrix rows, a multiple of 32;
    x may then have fewer rows, which repeat.
    """
    rows = planes.rows if rows is None else rows
    groups = planes.columns // GROUP
    cut = cut or blocking(rows, planes, fast=x.fast)
    m, splits = y.shape[:2]
    assert splits == cut.splits
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
        y.stride(0),
        y.stride(1),
        len(x.plain),
        BITS=planes.bits,
        HALVES=planes.halves,
        ZERO=planes.zero,
        FAST=x.fast,
        PLAIN=products.INTERPRETED,
        BN=cut.rows,
        KS=cut.side,
        LINES=32 * cut.warps,
        num_warps=cut.warps,
        **chain_options(y),
    )


def float_linear(w: Tensor, x: Tensor, y: Tensor, bias: Tensor | None = None) -> None:
    """Multiply weights (rows, columns) of any float type by float32 rows x (m, columns) → y (m, rows) float32."""
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
        **chain_options(y),
    )


def widen_rows(planes: Planes, ids: Tensor, out: Tensor, factor: float = 1.0) -> None:
    """Dequantize the rows of these ids into out, (n, columns) float32, times a factor."""
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
        **chain_options(out),
        enable_fp_fusion=False,  # a fused multiply-subtract would round once where the type's definition rounds twice
    )


def widen_tiles(planes: Planes, start: int, rows: int, dtype: torch.dtype) -> Tensor:
    """Dequantize rows [start, start + rows), a view of a new transposed tensor; start is a multiple of 32."""
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
