"""The language of vector code: numbers and vectors of LLVM IR as Python objects, and the fields of a block.

Everything is LLVM's generic vector code, which it lowers for each processor. Two things depend on the target: the
conversion of a half to float32, for which LLVM would call a library function if there is no instruction, and the
lookup of bytes in a table of sixteen, which LLVM cannot express.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

Number = int | float


BYTE, WORD, INDEX = ir.IntType(8), ir.IntType(32), ir.IntType(64)
HALF, FLOAT, DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()
_WIDTHS = {HALF: 16, FLOAT: 32}  # in bits; integer types know their own

_SHUFFLE = "llvm.x86.avx2.pshuf.b"


@dataclass(frozen=True)
class Has:
    """What a target has: instructions between half and float32; AVX2's byte shuffle."""

    halves: bool
    shuffle: bool


class Value:
    """An integer or a float, or a vector of them; a single number combined with a vector acts on every lane.

    Integers have no sign of their own: `>>` shifts in zeros; `signed_floats` interprets them as signed.
    """

    __slots__ = ("builder", "ir")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.ir = builder, value

    @property
    def lanes(self) -> int:
        """The number of lanes; 0 for a scalar."""
        return self.ir.type.count if isinstance(self.ir.type, ir.VectorType) else 0

    @property
    def element(self) -> Any:
        """The type of one number."""
        return self.ir.type.element if self.lanes else self.ir.type

    def __add__(self, other: Value | Number) -> Value:
        return self._with(other, "fadd" if self._is_float else "add")

    def __sub__(self, other: Value | Number) -> Value:
        return self._with(other, "fsub" if self._is_float else "sub")

    def __mul__(self, other: Value | Number) -> Value:
        return self._with(other, "fmul" if self._is_float else "mul")

    def __and__(self, other: Value | Number) -> Value:
        return self._with(other, "and_")

    def __or__(self, other: Value | Number) -> Value:
        return self._with(other, "or_")

    def __lshift__(self, other: Value | Number) -> Value:
        return self._with(other, "shl")

    def __rshift__(self, other: Value | Number) -> Value:
        return self._with(other, "lshr")

    def equals(self, other: Value | Number) -> Value:
        """Return one bit per lane: whether the integers are equal."""
        left, right = self._pair(other)
        return self._new(self.builder.icmp_unsigned("==", left, right))

    def is_below(self, other: Value | Number) -> Value:
        """Return one bit per lane: whether the integer, as unsigned, is smaller."""
        left, right = self._pair(other)
        return self._new(self.builder.icmp_unsigned("<", left, right))

    def choose(self, where_set: Value, elsewhere: Value) -> Value:
        """Select by these bits: `where_set` for a set bit, else `elsewhere`."""
        lanes = max(self.lanes, where_set.lanes, elsewhere.lanes)
        return self._new(self.builder.select(self.ir, where_set.spread(lanes).ir, elsewhere.spread(lanes).ir))

    def take(self, lanes: Sequence[int], other: Value | None = None) -> Value:
        """Return the lanes with these numbers; those of `other` continue the numbering."""
        return self._shuffle(lanes, (other or self).ir)

    def look_up_by_shuffle(self, both: Value) -> Value:
        """Look up 32 bytes below 16 by AVX2's shuffle. both: the table of 16 bytes, once in each half."""
        shuffle = self.builder.module.globals.get(_SHUFFLE)
        if shuffle is None:
            kind = self.ir.type
            shuffle = ir.Function(self.builder.module, ir.FunctionType(kind, [kind, kind]), _SHUFFLE)
        return self._new(self.builder.call(shuffle, [both.ir, self.ir]))

    def look_up(self, table: NDArray[np.int8]) -> Value:
        """Look up bytes below 16 in a table of 16 bytes, by a tree of selects in registers."""
        layer = [_constant(self.ir.type, int(entry)) for entry in table]
        for bit in range(4):
            is_set = (self & (1 << bit)).equals(1 << bit).ir
            pairs = zip(layer[1::2], layer[::2], strict=True)
            layer = [self.builder.select(is_set, one, zero) for one, zero in pairs]
        return self._new(layer[0])

    def __getitem__(self, lanes: int | slice) -> Value:
        """Return one lane as a scalar, or a range of lanes."""
        if isinstance(lanes, int):
            return self._new(self.builder.extract_element(self.ir, _constant(WORD, lanes)))
        return self._shuffle(range(*lanes.indices(self.lanes)), self.ir)

    def interleave(self, other: Value) -> Value:
        """Interleave the lanes of two vectors of the same length."""
        return self._shuffle([lane + of for lane in range(self.lanes) for of in (0, self.lanes)], other.ir)

    def concat(self, other: Value) -> Value:
        """Concatenate the lanes of two vectors of the same length."""
        return self._shuffle(range(2 * self.lanes), other.ir)

    def spread(self, lanes: int) -> Value:
        """Copy a scalar to every lane of a vector; a value that already has so many lanes is returned as it is."""
        if self.lanes == lanes:
            return self
        undefined = ir.Constant(ir.VectorType(self.element, lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, self.ir, _constant(WORD, 0))
        return self._new(first)._shuffle([0] * lanes, undefined)

    def floats(self) -> Value:
        """Convert unsigned integers to float32, rounded once; exact up to 2²⁴."""
        return self._new(self.builder.uitofp(self.ir, self._of(FLOAT)))

    def signed_floats(self) -> Value:
        """Convert signed integers to float32, rounded once; exact up to 2²⁴."""
        return self._new(self.builder.sitofp(self.ir, self._of(FLOAT)))

    def round_to(self, element: Any) -> Value:
        """Convert floats to a narrower type, each rounded once to nearest even."""
        return self._new(self.builder.fptrunc(self.ir, self._of(element)))

    def widen(self, bits: int) -> Value:
        """Zero-extend integers to `bits` bits."""
        return self._new(self.builder.zext(self.ir, self._of(ir.IntType(bits))))

    def narrow(self, bits: int) -> Value:
        """Truncate integers to their lowest `bits` bits."""
        return self._new(self.builder.trunc(self.ir, self._of(ir.IntType(bits))))

    def upper_halves(self) -> Value:
        """Return the upper 16 bits of 32-bit integers, by one shuffle rather than shifts."""
        halves = self.builder.bitcast(self.ir, ir.VectorType(ir.IntType(16), 2 * self.lanes))
        return self._new(halves)._shuffle(range(1, 2 * self.lanes, 2), halves)

    def as_integers(self, bits: int) -> Value:
        """Reinterpret the bits as integers of `bits` bits, the lowest first."""
        width = _WIDTHS.get(self.element) or self.element.width
        kind = ir.IntType(bits)
        if self.lanes:
            kind = ir.VectorType(kind, self.lanes * width // bits)
        return self._new(self.builder.bitcast(self.ir, kind))

    def bits(self) -> Value:
        """Reinterpret float32 as 32-bit integers."""
        return self.as_integers(32)

    def as_floats(self) -> Value:
        """Reinterpret 32-bit integers as float32."""
        return self._new(self.builder.bitcast(self.ir, self._of(FLOAT)))

    def magnitude(self) -> Value:
        """Return the absolute value of float32."""
        return (self.bits() & 0x7FFFFFFF).as_floats()

    def shift_by_lane(self, bits: int) -> Value:
        """Copy a scalar integer to 16 lanes and shift lane i right by i · `bits`."""
        amounts = [ir.Constant(self.ir.type, bits * lane) for lane in range(16)]
        shifts = ir.Constant(ir.VectorType(self.ir.type, 16), amounts)
        return self._new(self.builder.lshr(self.spread(16).ir, shifts))

    def flags(self) -> Value:
        """Return an integer's bits, the lowest first, as one bit per lane."""
        return self._new(self.builder.bitcast(self.ir, ir.VectorType(ir.IntType(1), self.element.width)))

    @property
    def _is_float(self) -> bool:
        return not isinstance(self.element, ir.IntType)

    def _of(self, element: Any) -> Any:
        return ir.VectorType(element, self.lanes) if self.lanes else element

    def _new(self, value: Any) -> Value:
        return Value(self.builder, value)

    def _pair(self, other: Value | Number) -> tuple[Any, Any]:
        if not isinstance(other, Value):
            return self.ir, _constant(self.ir.type, other)
        lanes = max(self.lanes, other.lanes)
        return self.spread(lanes).ir, other.spread(lanes).ir

    def _with(self, other: Value | Number, instruction: str) -> Value:
        return self._new(getattr(self.builder, instruction)(*self._pair(other)))

    def _shuffle(self, lanes: Sequence[int], other: Any) -> Value:
        mask = ir.Constant(ir.VectorType(WORD, len(lanes)), [_constant(WORD, lane) for lane in lanes])
        return self._new(self.builder.shuffle_vector(self.ir, other, mask))


@dataclass(frozen=True)
class CodedWeights:
    """32 weights as codes, bytes below 16, and the function from codes (in any number of lanes) to float32 weights."""

    codes: Value
    weights_of: Callable[[Value], Value]


class HasLayout(Protocol):
    """A type of blocks, as far as vector code needs it."""

    @property
    def layout(self) -> np.dtype[np.void]:
        """The bytes of one block, with named fields."""


class Block:
    """One block in memory, with its fields by their names in the type's layout.

    bounds: the values given to `declare_bound`.
    """

    def __init__(self, builder: Any, type: HasLayout, address: Any, has: Has) -> None:
        self.builder, self.layout, self.address, self.has = builder, type.layout, address, has
        self.bounds: list[Value] = []

    def declare_bound(self, *bounds: Value) -> None:
        """State that no weight of the block has a larger magnitude than the largest of these, if they are finite.

        A kernel then does not have to check every weight.
        """
        self.bounds += bounds

    def coded(self, codes: Value, weights_of: Callable[[Value], Value]) -> CodedWeights:
        """Return 32 weights as codes below 16; with a byte shuffle, a kernel computes sixteen weights and looks up."""
        return CodedWeights(codes, weights_of)

    def numbers(self, field: str, first: int = 0, count: int = 0) -> Value:
        """Load `count` numbers of a field, from number `first` on, as a vector; or one as a scalar if `count` is 0.

        Halves and floats become float32, exactly, doubles are rounded to it once; integers stay as they are.
        """
        kind, offset = self._field(field)
        element = {"f4": FLOAT, "f8": DOUBLE}.get(kind.str[1:], ir.IntType(8 * kind.itemsize))
        found = self._load(offset + first * kind.itemsize, element, count)
        if kind.str[1:] == "f2":
            return self.half(found)
        return found.round_to(FLOAT) if kind.str[1:] == "f8" else found

    def word(self, field: str, byte: int, bits: int) -> Value:
        """Load an integer of `bits` bits that begins at a byte of a field."""
        _, offset = self._field(field)
        return self._load(offset + byte, ir.IntType(bits), 0)

    def half(self, stored: Value) -> Value:
        """Convert the bits of halves to float32, exactly.

        A scalar is converted in a vector: LLVM would load it into part of a register, which waits for the rest.
        """
        if self.has.halves and not stored.lanes:
            zeros = ir.Constant(ir.VectorType(stored.element, 8), None)
            alone = self.builder.insert_element(zeros, stored.ir, _constant(WORD, 0))
            return self.half(Value(self.builder, alone))[0]
        if self.has.halves:
            half = self.builder.bitcast(stored.ir, stored._of(HALF))
            return Value(self.builder, self.builder.fpext(half, stored._of(FLOAT)))
        # Exponent and mantissa, moved to their places in a float32, are the half times 2^-112; also if it is subnormal.
        wide = stored.widen(32)
        moved = (wide & 0x7FFF) << 13
        finite = (moved.as_floats() * 2.0**112).bits()
        magnitude = (wide & 0x7C00).equals(0x7C00).choose(moved | 0x7F800000, finite)
        return (magnitude | (wide & 0x8000) << 16).as_floats()

    def row(self, table: NDArray[Any], index: Value) -> Value:
        """Load a row of a constant table: a vector of its bytes, or a single float32."""
        constant = self._constant_table(table)
        count = 0 if table.ndim == 1 else table.shape[1]
        element = FLOAT if table.dtype == np.float32 else BYTE
        at = index.widen(64) * table[0].nbytes
        return self._load_lanes(self.builder.gep(constant, [at.ir], source_etype=BYTE), element, count)

    def _field(self, field: str) -> tuple[np.dtype[Any], int]:
        assert self.layout.fields is not None
        kind, offset = self.layout.fields[field][:2]
        return kind.base, offset

    def _load(self, offset: int, element: Any, count: int) -> Value:
        address = self.builder.gep(self.address, [_constant(INDEX, offset)], source_etype=BYTE)
        return self._load_lanes(address, element, count)

    def _load_lanes(self, address: Any, element: Any, count: int) -> Value:
        kind = ir.VectorType(element, count) if count else element
        loaded = self.builder.load(address, typ=kind)
        loaded.align = 1  # blocks lie at any byte
        return Value(self.builder, loaded)

    def _constant_table(self, table: NDArray[Any]) -> Any:
        """Return the table as a constant of the module, added once."""
        content = bytearray(table.tobytes())
        kind = ir.ArrayType(BYTE, len(content))
        for known in self.builder.module.global_values:
            if isinstance(known, ir.GlobalVariable) and known.initializer.constant == content:
                return known
        constant = ir.GlobalVariable(
            self.builder.module, kind, f"table{len(self.builder.module.global_values)}"
        )
        constant.initializer = ir.Constant(kind, content)
        constant.global_constant, constant.linkage, constant.align = True, "internal", 64
        return constant


def _constant(kind: Any, number: Number) -> Any:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)
    return ir.Constant(kind, number)
