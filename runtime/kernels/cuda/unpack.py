"""Unpack ggml's blocks on the device into integer codes and scales, with torch operations only.

Every type is w = scale · (code − zero) − minimum, with a scale per 16 or 32 weights. The formulas are documented in
`llorch.formats.quants`; here fields are only separated, so nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from llorch.formats.quants import E2M1_DOUBLED, IQ4, QuantType, by_name, e8m0_halved, grid, ue4m3_halved

SIGNED = 128  # added to a signed byte to make its code non-negative


@dataclass(frozen=True, slots=True)
class UnpackedBlocks:
    """The fields of n blocks.

    codes: (n, weights) uint8. scale, minimum: (n, groups) of any numeric type; as float32, times `d` and `dmin` (n, 1)
    if present, they are the factor of the codes and what is subtracted.
    """

    codes: Tensor
    scale: Tensor
    minimum: Tensor | None = None
    d: Tensor | None = None
    dmin: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A type's layout on the device. bits per code: 4, 5, 6 or 8. group: weights per scale, 16 or 32."""

    bits: int
    group: int
    zero: int
    unpack: Callable[[Blocks], UnpackedBlocks]


class Blocks:
    """Raw blocks (n, bytes) whose fields are read by name."""

    def __init__(self, type: QuantType, raw: Tensor) -> None:
        self.raw = raw.view(-1, type.block_bytes)
        self.layout = type.layout

    def __getitem__(self, name: str) -> Tensor:
        """A field as (n, length); 16- and 32-bit unsigned integers are returned as int32."""
        assert self.layout.fields is not None
        dtype, at = self.layout.fields[name][:2]
        # always a copy, even if contiguous: a view as a wider type needs an aligned start
        raw = self.raw[:, at : at + dtype.itemsize].clone(memory_format=torch.contiguous_format)
        kind, size = dtype.base.kind, dtype.base.itemsize
        if size == 1:
            return raw if kind == "u" else raw.view(torch.int8)
        if kind == "f":
            return raw.view(torch.float16 if size == 2 else torch.float32)
        if size == 2:
            return raw.view(torch.int16).int() & 0xFFFF
        return raw.view(torch.int32)


def _parts(packed: Tensor, bits: int) -> Tensor:
    """Bytes (…, k) → (…, 8 / bits, k): the lowest `bits` bits of all bytes, then the next."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)[:, None]
    return packed[..., None, :] >> shifts & ((1 << bits) - 1)


def _in_turn(packed: Tensor, bits: int) -> Tensor:
    """Bytes (…, k) → (…, k · 8 / bits): all fields of the first byte, then of the next."""
    return _parts(packed, bits).transpose(-1, -2).reshape(*packed.shape[:-1], -1)


def _fields(words: Tensor, bits: int, count: int) -> Tensor:
    """int32 words (…) → (…, count): the lowest `bits` bits, then the next, …"""
    shifts = bits * torch.arange(count, dtype=torch.int32, device=words.device)
    return words[..., None] >> shifts & ((1 << bits) - 1)


@cache
def _table(name: str, device: torch.device) -> Tensor:
    makers = {
        "IQ4": lambda: torch.from_numpy(IQ4).int() + SIGNED,
        "E2M1": lambda: torch.from_numpy(E2M1_DOUBLED).int() + SIGNED,
        "E8M0": lambda: torch.from_numpy(e8m0_halved()),
        "UE4M3": lambda: torch.from_numpy(ue4m3_halved()),
    }
    made = makers[name]() if name in makers else torch.from_numpy(grid(name).copy())
    return (made.to(torch.uint8) if name in ("IQ4", "E2M1") else made).to(device)


def _looked_up(name: str, index: Tensor) -> Tensor:
    return _table(name, index.device)[index.long()]


def _nibbles(b: Blocks) -> Tensor:
    return _parts(b["qs"], 4).flatten(1)


def _fifths(b: Blocks) -> Tensor:
    return (_fields(b["qh"], 1, 32) << 4).to(torch.uint8).flatten(1)


def _q4_0(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_nibbles(b), b["d"])


def _q4_1(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_nibbles(b), b["d"], -b["m"])


def _q5_0(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_nibbles(b) | _fifths(b), b["d"])


def _q5_1(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_nibbles(b) | _fifths(b), b["d"], -b["m"])


def _q8_0(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(b["qs"].view(torch.uint8) ^ 0x80, b["d"])


def _q8_k(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(b["qs"].view(torch.uint8) ^ 0x80, b["d"].expand(-1, 8))


def _six_bits(b: Blocks) -> tuple[Tensor, Tensor]:
    first, second, nibbles = b["scales"].chunk(3, dim=1)
    scale = torch.cat([first & 63, nibbles & 15 | first >> 6 << 4], dim=1)
    minimum = torch.cat([second & 63, nibbles >> 4 | second >> 6 << 4], dim=1)
    return scale, minimum


def _q2_k(b: Blocks) -> UnpackedBlocks:
    codes = _parts(b["qs"].view(-1, 2, 32), 2).flatten(1)
    return UnpackedBlocks(codes, b["scales"] & 15, b["scales"] >> 4, b["d"], b["dmin"])


def _q3_k(b: Blocks) -> UnpackedBlocks:
    scales = b["scales"]
    low, high = _parts(scales[:, :8], 4).flatten(1), _parts(scales[:, 8:], 2).flatten(1)
    q = _parts(b["qs"].view(-1, 2, 32), 2).flatten(1) | _parts(b["hmask"], 1).flatten(1) << 2
    return UnpackedBlocks(q, (low | high << 4).to(torch.int8) - 32, None, b["d"])


def _q4_k(b: Blocks) -> UnpackedBlocks:
    scale, minimum = _six_bits(b)
    return UnpackedBlocks(_parts(b["qs"].view(-1, 4, 32), 4).flatten(1), scale, minimum, b["d"], b["dmin"])


def _q5_k(b: Blocks) -> UnpackedBlocks:
    scale, minimum = _six_bits(b)
    codes = _parts(b["qs"].view(-1, 4, 32), 4).flatten(1) | _parts(b["qh"], 1).flatten(1) << 4
    return UnpackedBlocks(codes, scale, minimum, b["d"], b["dmin"])


def _q6_k(b: Blocks) -> UnpackedBlocks:
    low = _parts(b["ql"].view(-1, 2, 64), 4).flatten(1)
    high = _parts(b["qh"].view(-1, 2, 32), 2).flatten(1)
    return UnpackedBlocks(low | high << 4, b["scales"], None, b["d"])


def _iq4_nl(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_looked_up("IQ4", _nibbles(b)), b["d"])


def _iq4_xs(b: Blocks) -> UnpackedBlocks:
    s = _in_turn(b["scales_l"], 4) | (_fields(b["scales_h"].flatten(), 2, 8) << 4).to(torch.uint8)
    codes = _looked_up("IQ4", _parts(b["qs"].view(-1, 8, 16), 4).flatten(1))
    return UnpackedBlocks(codes, s.to(torch.int8) - 32, None, b["d"])


def _mxfp4(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_looked_up("E2M1", _nibbles(b)), _looked_up("E8M0", b["e"]))


def _nvfp4(b: Blocks) -> UnpackedBlocks:
    codes = _looked_up("E2M1", _parts(b["qs"].view(-1, 4, 8), 4).flatten(1))
    return UnpackedBlocks(codes, _looked_up("UE4M3", b["d"]))


def _signs(index: Tensor) -> Tensor:
    """Seven sign bits, and an eighth that makes their parity even: (n, …) → bits (n, …, 8)."""
    seven = _fields(index, 1, 7)
    return torch.cat([seven, seven.sum(-1, keepdim=True, dtype=torch.int32) & 1], dim=-1)


def _with_signs(b: Blocks, s: Tensor, factor: float, rows: Tensor, negative: Tensor) -> UnpackedBlocks:
    """As `_signed` of the quants: scale d · (½ + s) · factor; the codes are grid rows with signs applied."""
    scale = b["d"].float() * ((s.float() + 0.5) * factor)
    codes = rows.flatten(1).int() * (1 - 2 * negative.flatten(1).int())
    return UnpackedBlocks((codes + SIGNED).to(torch.uint8), scale)


def _iq2_xxs(b: Blocks) -> UnpackedBlocks:
    words = b["qs"].view(-1, 8, 2)
    rows = _looked_up("IQ2_XXS", _fields(words[:, :, 0], 8, 4))
    return _with_signs(b, words[:, :, 1] >> 28 & 15, 0.25, rows, _signs(_fields(words[:, :, 1], 7, 4)))


def _iq2_xs(b: Blocks) -> UnpackedBlocks:
    rows = _looked_up("IQ2_XS", b["qs"] & 511)
    return _with_signs(b, _in_turn(b["scales"], 4), 0.25, rows, _signs(b["qs"] >> 9))


def _iq2_s(b: Blocks) -> UnpackedBlocks:
    index = b["qs"].int() | _in_turn(b["qh"], 2).int() << 8
    rows = _looked_up("IQ2_S", index)
    return _with_signs(b, _in_turn(b["scales"], 4), 0.25, rows, _in_turn(b["signs"], 1))


def _iq3_xxs(b: Blocks) -> UnpackedBlocks:
    words = b["scales_and_signs"]
    return _with_signs(b, words >> 28 & 15, 0.5, _looked_up("IQ3_XXS", b["qs"]), _signs(_fields(words, 7, 4)))


def _iq3_s(b: Blocks) -> UnpackedBlocks:
    index = b["qs"].int() | _in_turn(b["qh"], 1).int() << 8
    return _with_signs(b, _in_turn(b["scales"], 4), 2.0, _looked_up("IQ3_S", index), _in_turn(b["signs"], 1))


def _eighths(rows: Tensor, down: Tensor) -> Tensor:
    """Grid rows of −1, 0, 1 shifted by ± 1/8, in eighths: 8 · row ± 1."""
    return (rows.int() * 8 + (1 - 2 * down) + SIGNED).to(torch.uint8).flatten(1)


def _iq1_s(b: Blocks) -> UnpackedBlocks:
    high = b["qh"]
    index = b["qs"].int() | _fields(high, 3, 4).flatten(1) << 8
    rows = _looked_up("IQ1_S", index).view(-1, 8, 32)
    scale = b["d"].float() * (2 * (high >> 12 & 7) + 1).float() * 0.125
    return UnpackedBlocks(_eighths(rows, (high >> 15 & 1)[:, :, None]), scale)


def _iq1_m(b: Blocks) -> UnpackedBlocks:
    words = b["scales"]
    shifts = torch.arange(0, 16, 4, dtype=torch.int32, device=words.device)
    bits = (words >> 12 << shifts).sum(-1, dtype=torch.int32)
    d = bits.to(torch.int16).view(torch.float16).float()[:, None]
    high = _in_turn(b["qh"], 4).int()
    rows = _looked_up("IQ1_S", b["qs"].int() | (high & 7) << 8)
    scale = d * (2 * _fields(words, 3, 4).flatten(1) + 1).float() * 0.125
    return UnpackedBlocks(_eighths(rows, (high >> 3)[:, :, None]), scale)


def _tq1_0(b: Blocks) -> UnpackedBlocks:
    def trits(packed: Tensor, count: int) -> Tensor:
        power = 3 ** torch.arange(count, dtype=torch.int32, device=packed.device)[:, None]
        return ((packed.int()[:, None, :] * power & 255) * 3 >> 8).to(torch.uint8).flatten(1)

    qs = b["qs"]
    codes = torch.cat([trits(qs[:, :32], 5), trits(qs[:, 32:], 5), trits(b["qh"], 4)], dim=1)
    return UnpackedBlocks(codes, b["d"].expand(-1, 8))


def _tq2_0(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_parts(b["qs"].view(-1, 2, 32), 2).flatten(1), b["d"].expand(-1, 8))


def _q1_0(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_in_turn(b["qs"], 1) << 1, b["d"].expand(-1, 4))


def _q2_0(b: Blocks) -> UnpackedBlocks:
    return UnpackedBlocks(_in_turn(b["qs"], 2), b["d"].expand(-1, 2))


FORMS: dict[str, Form] = {
    "Q4_0": Form(4, 32, 8, _q4_0),
    "Q4_1": Form(4, 32, 0, _q4_1),
    "Q5_0": Form(5, 32, 16, _q5_0),
    "Q5_1": Form(5, 32, 0, _q5_1),
    "Q8_0": Form(8, 32, SIGNED, _q8_0),
    "Q8_1": Form(8, 32, SIGNED, _q8_0),
    "Q8_K": Form(8, 32, SIGNED, _q8_k),
    "Q2_K": Form(4, 16, 0, _q2_k),
    "Q3_K": Form(4, 16, 4, _q3_k),
    "Q4_K": Form(4, 32, 0, _q4_k),
    "Q5_K": Form(5, 32, 0, _q5_k),
    "Q6_K": Form(6, 16, 32, _q6_k),
    "IQ1_S": Form(8, 32, SIGNED, _iq1_s),
    "IQ1_M": Form(8, 16, SIGNED, _iq1_m),
    "IQ2_XXS": Form(8, 32, SIGNED, _iq2_xxs),
    "IQ2_XS": Form(8, 16, SIGNED, _iq2_xs),
    "IQ2_S": Form(8, 16, SIGNED, _iq2_s),
    "IQ3_XXS": Form(8, 32, SIGNED, _iq3_xxs),
    "IQ3_S": Form(8, 32, SIGNED, _iq3_s),
    "IQ4_NL": Form(8, 32, SIGNED, _iq4_nl),
    "IQ4_XS": Form(8, 32, SIGNED, _iq4_xs),
    "MXFP4": Form(8, 32, SIGNED, _mxfp4),
    "NVFP4": Form(8, 16, SIGNED, _nvfp4),
    "TQ1_0": Form(4, 32, 1, _tq1_0),
    "TQ2_0": Form(4, 32, 1, _tq2_0),
    "Q1_0": Form(4, 32, 1, _q1_0),
    "Q2_0": Form(4, 32, 1, _q2_0),
}


def unpack(type: QuantType, raw: Tensor) -> UnpackedBlocks:
    """Unpack whole blocks of a packed type, uint8, on their device."""
    return FORMS[type.name].unpack(Blocks(by_name(type.name), raw))
