"""The layout of packed weights on the device: bit planes, with 32 rows interleaved.

Blocks are repacked once, on the device. The codes of 32 rows × 32 columns are stored as words of 4-bit codes (with the
higher bits in a second plane), word j of all rows contiguous, so that threads which compute neighbouring rows read
contiguous memory. Repacking only moves bits; `widen` gives exactly the float32 that the blocks decode to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llorch.formats.quants import QuantType
from llorch.runtime.kernels.cuda.unpack import FORMS, unpack

TILE = 32  # rows that are interleaved
GROUP = 32  # columns of one group of codes
SUPER = 256  # weights under one `d`
PIECE_WEIGHTS = 1 << 25  # repacked at a time: scratch memory is about ten bytes per weight


@dataclass(frozen=True, slots=True)
class Planes:
    """A packed matrix (rows, columns), or several of the same form stacked, each padded to whole tiles.

    codes: int32 (tiles, groups, words, 32): byte b of word j holds the low four bits of columns 4j + b and, above them,
    16 + 4j + b; with 8-bit codes word j holds columns 4j … 4j + 3. high: the bits above the fourth, one word for 5-bit
    codes, two for 6-bit. scale, minimum: (tiles, groups, halves, 32), per group or per 16 columns.
    d, dmin: (tiles, columns / 256, 32), factors of scale and minimum. row_scale: (rows,) float32, factors of rows.
    """

    rows: int
    columns: int
    bits: int
    halves: int
    zero: int
    codes: Tensor
    scale: Tensor
    high: Tensor | None = None
    minimum: Tensor | None = None
    d: Tensor | None = None
    dmin: Tensor | None = None
    row_scale: Tensor | None = None

    @property
    def form(self) -> tuple[object, ...]:
        """What must be equal for two matrices to be stacked."""
        given = (self.minimum, self.d, self.dmin, self.row_scale)
        dtypes = tuple(None if t is None else t.dtype for t in given)
        return (self.columns, self.bits, self.halves, self.zero, self.scale.dtype, *dtypes)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(t.nbytes for t in self._tensors().values())

    def _tensors(self) -> dict[str, Tensor]:
        names = ("codes", "scale", "high", "minimum", "d", "dmin", "row_scale")
        return {name: t for name in names if (t := getattr(self, name)) is not None}

    def tiles(self, start: int, stop: int) -> Planes:
        """Rows [start, stop); both are multiples of 32, or stop is the end."""
        assert start % TILE == 0
        assert stop % TILE == 0 or stop == self.rows
        first, last = start // TILE, -(-stop // TILE)
        cut = {
            name: t[start:stop] if name == "row_scale" else t[first:last]
            for name, t in self._tensors().items()
        }
        return replace(self, rows=stop - start, **cut)  # type: ignore[arg-type]


def repack(type: QuantType, raw: Tensor, rows: int, columns: int, row_scale: Tensor | None = None) -> Planes:
    """Repack the blocks of whole rows, uint8, on their device.

    row_scale: (rows,) float32, factors applied to whole rows last.
    """
    row_bytes = columns // type.weights * type.block_bytes
    step = max(TILE, PIECE_WEIGHTS // columns // TILE * TILE)
    pieces = [
        _repack(type, raw[first * row_bytes : (first + step) * row_bytes], columns)
        for first in range(0, rows, step)
    ]
    planes = pieces[0] if len(pieces) == 1 else join_planes(pieces)
    return replace(planes, rows=rows, row_scale=row_scale)


def join_planes(parts: list[Planes]) -> Planes:
    """Stack matrices of the same form; all but the last consist of whole tiles."""
    first = parts[0]
    assert all(p.form == first.form for p in parts)
    assert all(p.rows % TILE == 0 for p in parts[:-1])
    together = {name: torch.cat([getattr(p, name) for p in parts]) for name in first._tensors()}
    return replace(first, rows=sum(p.rows for p in parts), **together)  # type: ignore[arg-type]


def plane_bytes(type: QuantType, rows: int, columns: int) -> int:
    """Bytes that a matrix of this type takes after repacking."""
    form, weights = FORMS[type.name], -(-rows // TILE) * TILE * columns
    one = torch.zeros(type.block_bytes, dtype=torch.uint8)
    parts = unpack(type, one)
    per_block = sum(
        t.element_size() * t.shape[1]
        for t in (parts.scale, parts.minimum, parts.d, parts.dmin)
        if t is not None
    )
    return weights * form.bits // 8 + weights // type.weights * per_block


def _repack(type: QuantType, raw: Tensor, columns: int) -> Planes:
    form, parts = FORMS[type.name], unpack(type, raw)
    codes = _tile(parts.codes.reshape(-1, columns)).view(-1, TILE, columns // GROUP, GROUP)
    rows = len(parts.codes) * type.weights // columns
    low, high = _planes(codes, form.bits)

    def scales(t: Tensor | None, per: int) -> Tensor | None:
        if t is None:
            return None
        return _beside(
            _tile(t.reshape(rows, -1)).view(-1, TILE, columns // per, t.numel() // rows * per // columns)
        )

    scale, minimum = scales(parts.scale, GROUP), scales(parts.minimum, GROUP)
    d, dmin = ((None if t is None else scales(t, SUPER)) for t in (parts.d, parts.dmin))
    assert scale is not None
    return Planes(
        rows,
        columns,
        form.bits,
        GROUP // form.group,
        form.zero,
        low,
        scale,
        high,
        minimum,
        None if d is None else d.squeeze(2),
        None if dmin is None else dmin.squeeze(2),
    )


def _tile(t: Tensor) -> Tensor:
    """Pad (rows, n) with rows of zeros to a multiple of 32."""
    missing = -len(t) % TILE
    return t if missing == 0 else torch.cat([t, t.new_zeros(missing, t.shape[1])])


def _beside(t: Tensor) -> Tensor:
    """(tiles, 32, groups, n) → (tiles, groups, n, 32)."""
    return t.permute(0, 2, 3, 1).contiguous()


def _words(bytes: Tensor) -> Tensor:
    """(tiles, 32, groups, 4n) uint8 → (tiles, groups, n, 32) int32."""
    return _beside(bytes.contiguous().view(torch.int32))


def _planes(codes: Tensor, bits: int) -> tuple[Tensor, Tensor | None]:
    """Codes (tiles, 32, groups, 32) → words of the low bits, and words of the bits above the fourth."""
    if bits == 8:
        return _words(codes), None
    first, second = codes[..., :16], codes[..., 16:]
    low = _words(first & 15 | second << 4)
    if bits == 4:
        return low, None
    above = [(half >> 4).reshape(*half.shape[:-1], 4, 4) for half in (first, second)]  # (…, j, b)
    shifts = torch.arange(4, dtype=torch.uint8, device=codes.device)[:, None]
    if bits == 5:
        bytes = above[0] << shifts | above[1] << shifts + 4
        return low, _words(bytes.sum(-2, dtype=torch.uint8))
    bytes = torch.cat([(a << 2 * shifts).sum(-2, dtype=torch.uint8) for a in above], dim=-1)
    return low, _words(bytes)


def widen(planes: Planes) -> Tensor:
    """Dequantize to float32 (rows, columns) with torch operations, bit for bit as the type defines."""
    tiles, groups = planes.codes.shape[:2]
    words = planes.codes.permute(0, 3, 1, 2).contiguous().view(torch.uint8).view(tiles, TILE, groups, -1)
    codes = words if planes.bits == 8 else torch.cat([words & 15, words >> 4], dim=-1)
    if planes.high is not None:
        high = planes.high.permute(0, 3, 1, 2).contiguous().view(torch.uint8).view(tiles, TILE, groups, -1)
        shifts = torch.arange(4, dtype=torch.uint8, device=codes.device)[:, None]
        if planes.bits == 5:
            above = [high[..., None, :] >> shifts + first & 1 for first in (0, 4)]
        else:
            above = [half[..., None, :] >> 2 * shifts & 3 for half in high.chunk(2, dim=-1)]
        codes = codes | torch.cat([a.flatten(-2) for a in above], dim=-1) << 4
    q = codes.float() - planes.zero
    w = q.view(tiles, TILE, groups, planes.halves, -1) * _wide(planes.scale, planes.d)
    if planes.minimum is not None:
        w = w - _wide(planes.minimum, planes.dmin)
    w = w.reshape(tiles * TILE, planes.columns)[: planes.rows]
    return w if planes.row_scale is None else w * planes.row_scale[:, None]


def _wide(scale: Tensor, d: Tensor | None) -> Tensor:
    """(tiles, groups, halves, 32), times d, as float32 (tiles, 32, groups, halves, 1)."""
    wide = scale.float()
    if d is not None:
        wide = wide * d.float().repeat_interleave(SUPER // GROUP, dim=1)[:, :, None]
    return wide.permute(0, 3, 1, 2)[..., None]
