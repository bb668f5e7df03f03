"""Describe tensor types as groups of small integers with a scale and a minimum, as products need them.

w = scale · code − minimum, for groups of 16 or 32 weights whose codes are unsigned bytes. A type is one function
registered by name, which extracts the three from blocks; layouts and formulas are those of `llorch.formats.quants`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from llorch.formats.quants import E2M1_DOUBLED, IQ4, QuantType, by_name, e8m0_halved, ue4m3_halved
from llorch.formats.vector_code import BYTE, FLOAT, WORD, Block, Value


@dataclass(frozen=True)
class Groups:
    """The contents of a run of blocks.

    codes: vectors of 32 bytes, in the weights' order. scales, minima: a lane per group.
    """

    codes: Sequence[Value]
    scales: Value
    minima: Value


class Run:
    """Consecutive blocks."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = blocks

    def each(self, field: str) -> Value:
        """A scalar field of every block, a lane per block; half floats become float32."""
        builder, first = self.blocks[0].builder, self.blocks[0]
        assert first.layout.fields is not None
        kind = first.layout.fields[field][0]
        bits = 8 * kind.itemsize
        gathered = ir.Constant(ir.VectorType(ir.IntType(bits), len(self.blocks)), ir.Undefined)
        for lane, block in enumerate(self.blocks):
            gathered = builder.insert_element(
                gathered, block.word(field, 0, bits).ir, ir.Constant(WORD, lane)
            )
        found = Value(builder, gathered)
        return first.half(found) if kind.str[1:] == "f2" else found

    def row(self, table: NDArray[Any], field: str) -> Value:
        """Look up a byte field of every block in a table of float32."""
        first = self.blocks[0]
        gathered = ir.Constant(ir.VectorType(FLOAT, len(self.blocks)), ir.Undefined)
        for lane, block in enumerate(self.blocks):
            found = block.row(table, block.numbers(field))
            gathered = first.builder.insert_element(gathered, found.ir, ir.Constant(WORD, lane))
        return Value(first.builder, gathered)


Describe = Callable[[Run], Groups]


@dataclass(frozen=True)
class GroupedType:
    """A described type.

    group: weights per scale. bits: number of bits that a code may use. by_words: whether codes are made of its
    fields' bytes one by one, four consecutive codes of four consecutive bytes, so that one 32-bit word from each of
    many rows can be unpacked together.
    """

    type: QuantType
    group: int
    bits: int
    describe: Describe
    by_words: bool


_BY_NAME: dict[str, GroupedType] = {}

GROUPED: Mapping[str, GroupedType] = MappingProxyType(_BY_NAME)


def group_type(name: str, *, group: int, bits: int, by_words: bool = False) -> Callable[[Describe], Describe]:
    """Register a type's description in `GROUPED`."""

    def enter(describe: Describe) -> Describe:
        _BY_NAME[name] = GroupedType(by_name(name), group, bits, describe, by_words)
        return describe

    return enter


@group_type("Q4_0", group=32, bits=4, by_words=True)
def _q4_0(run: Run) -> Groups:
    d = run.each("d")
    return Groups([_nibbles(b, "qs") for b in run.blocks], d, d * 8.0)


@group_type("Q4_1", group=32, bits=4, by_words=True)
def _q4_1(run: Run) -> Groups:
    return Groups([_nibbles(b, "qs") for b in run.blocks], run.each("d"), run.each("m") * -1.0)


@group_type("Q5_0", group=32, bits=5)
def _q5_0(run: Run) -> Groups:
    d = run.each("d")
    return Groups([_fifth(b) for b in run.blocks], d, d * 16.0)


@group_type("Q5_1", group=32, bits=5)
def _q5_1(run: Run) -> Groups:
    return Groups([_fifth(b) for b in run.blocks], run.each("d"), run.each("m") * -1.0)


@group_type("Q8_0", group=32, bits=8, by_words=True)
def _q8_0(run: Run) -> Groups:
    d = run.each("d")
    return Groups([b.numbers("qs", 0, 32) + 128 for b in run.blocks], d, d * 128.0)


@group_type("IQ4_NL", group=32, bits=8)
def _iq4_nl(run: Run) -> Groups:
    d = run.each("d")
    return Groups([_look_up(b, _nibbles(b, "qs"), IQ4, 127) for b in run.blocks], d, d * 127.0)


@group_type("MXFP4", group=32, bits=5)
def _mxfp4(run: Run) -> Groups:
    d = run.row(e8m0_halved(), "e")
    return Groups([_look_up(b, _nibbles(b, "qs"), E2M1_DOUBLED, 12) for b in run.blocks], d, d * 12.0)


@group_type("NVFP4", group=16, bits=5)
def _nvfp4(run: Run) -> Groups:
    (b,) = run.blocks
    scales = [b.row(ue4m3_halved(), b.numbers("d", group)) for group in range(4)]
    gathered = ir.Constant(ir.VectorType(FLOAT, 4), ir.Undefined)
    for lane, scale in enumerate(scales):
        gathered = b.builder.insert_element(gathered, scale.ir, ir.Constant(WORD, lane))
    d = Value(b.builder, gathered)
    codes = []
    for half in (0, 16):
        packed = b.numbers("qs", half, 16)
        low, high = packed & 15, packed >> 4
        # eight bytes are a group: first their low nibbles, then their high ones
        order = [*range(8), *range(16, 24), *range(8, 16), *range(24, 32)]
        codes.append(_look_up(b, low.take(order, high), E2M1_DOUBLED, 12))
    return Groups(codes, d, d * 12.0)


@group_type("Q4_K", group=32, bits=4, by_words=True)
def _q4_k(run: Run) -> Groups:
    (b,) = run.blocks
    codes = []
    for first in range(0, 128, 32):
        packed = b.numbers("qs", first, 32)
        codes += [packed & 15, packed >> 4]
    return Groups(codes, *_six_bits(b))


@group_type("Q5_K", group=32, bits=5, by_words=True)
def _q5_k(run: Run) -> Groups:
    (b,) = run.blocks
    high, codes = b.numbers("qh", 0, 32), []
    for group in range(8):
        packed = b.numbers("qs", 32 * (group // 2), 32)
        low = packed >> 4 if group % 2 else packed & 15
        fifth = high << 4 - group if group <= 4 else high >> group - 4
        codes.append(low | fifth & 16)
    return Groups(codes, *_six_bits(b))


@group_type("Q6_K", group=16, bits=6, by_words=True)
def _q6_k(run: Run) -> Groups:
    (b,) = run.blocks
    codes = []
    for half in (0, 1):
        high = b.numbers("qh", 32 * half, 32)
        for part in range(4):
            packed = b.numbers("ql", 64 * half + 32 * (part % 2), 32)
            low = packed >> 4 if part >= 2 else packed & 15
            upper = high << 4 - 2 * part if part <= 2 else high >> 2 * part - 4
            codes.append(low | upper & 48)
    scales = b.numbers("d") * b.numbers("scales", 0, 16).signed_floats()
    return Groups(codes, scales, scales * 32.0)


@group_type("Q2_K", group=16, bits=2, by_words=True)
def _q2_k(run: Run) -> Groups:
    (b,) = run.blocks
    packed = b.numbers("scales", 0, 16)
    scales = b.numbers("d") * (packed & 15).floats()
    return Groups(list(_pairs_of_bits(b)), scales, b.numbers("dmin") * (packed >> 4).floats())


@group_type("Q3_K", group=16, bits=3, by_words=True)
def _q3_k(run: Run) -> Groups:
    (b,) = run.blocks
    low, high = b.numbers("scales", 0, 8), b.numbers("scales", 8, 4)
    low = (low & 15).concat(low >> 4)
    high = (high & 3).concat(high >> 2 & 3).concat((high >> 4 & 3).concat(high >> 6))
    scales = b.numbers("d") * ((low | high << 4) - 32).signed_floats()
    third = b.numbers("hmask", 0, 32)
    codes = []
    for part, pair in enumerate(_pairs_of_bits(b)):
        bit = third << 2 - part if part <= 2 else third >> part - 2
        codes.append(pair | bit & 4)
    return Groups(codes, scales, scales * 4.0)


@group_type("IQ4_XS", group=32, bits=8)
def _iq4_xs(run: Run) -> Groups:
    (b,) = run.blocks
    low, high = b.numbers("scales_l", 0, 4), b.numbers("scales_h").spread(8)
    low = (low & 15).interleave(low >> 4)
    shifts = ir.Constant(high.ir.type, [ir.Constant(high.element, 2 * lane) for lane in range(8)])
    upper = Value(b.builder, b.builder.lshr(high.ir, shifts)).narrow(8) & 3
    scales = b.numbers("d") * ((low | upper << 4) - 32).signed_floats()
    codes = []
    for group in range(8):
        packed = b.numbers("qs", 16 * group, 16)
        codes.append(_look_up(b, (packed & 15).concat(packed >> 4), IQ4, 127))
    return Groups(codes, scales, scales * 127.0)


@group_type("TQ2_0", group=32, bits=2, by_words=True)
def _tq2_0(run: Run) -> Groups:
    (b,) = run.blocks
    scales = b.numbers("d").spread(8)
    return Groups(list(_pairs_of_bits(b)), scales, scales)


def _nibbles(b: Block, field: str) -> Value:
    packed = b.numbers(field, 0, 16)
    return (packed & 15).concat(packed >> 4)


def _fifth(b: Block) -> Value:
    return _nibbles(b, "qs") | b.word("qh", 0, 32).flags().widen(8) << 4


def _pairs_of_bits(b: Block) -> list[Value]:
    return [b.numbers("qs", half, 32) >> shift & 3 for half in (0, 32) for shift in (0, 2, 4, 6)]


def _six_bits(b: Block) -> tuple[Value, Value]:
    """Unpack scales and minima from twelve bytes; `llorch.formats.quants.k` describes the layout."""
    first, second, nibbles = (b.numbers("scales", i, 4) for i in (0, 4, 8))
    scale = (first & 63).concat(nibbles & 15 | first >> 6 << 4)
    minimum = (second & 63).concat(nibbles >> 4 | second >> 6 << 4)
    return b.numbers("d") * scale.floats(), b.numbers("dmin") * minimum.floats()


def _look_up(b: Block, codes: Value, table: NDArray[np.int8], offset: int) -> Value:
    """Look up 32 codes below 16 in a table, plus `offset`, which makes all results unsigned bytes."""
    entries = table.astype(np.int16) + offset
    if b.has.shuffle:
        both = ir.VectorType(BYTE, 32)
        return codes.look_up_by_shuffle(
            Value(b.builder, ir.Constant(both, [BYTE(int(n)) for n in (*entries, *entries)]))
        )
    return codes.look_up(entries.astype(np.uint8).view(np.int8)) & 255
