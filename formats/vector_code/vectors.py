"""What the fast form of a type is written in: numbers and vectors of them, and the fields of a block.

All of it is LLVM's generic vector code, which becomes what a processor has. Two things depend on the target: how a
half becomes a float32, because LLVM would call a library's function where there is no instruction, and how a byte
chooses among sixteen, for which LLVM has no word.
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
_WIDTHS = {HALF: 16, FLOAT: 32}  # in bits; llvmlite knows those of integers

_SHUFFLE = "llvm.x86.avx2.pshuf.b"


@dataclass(frozen=True)
class Has:
    """What a target has: instructions between half and float32; AVX2's shuffle of bytes by bytes."""

    halves: bool
    shuffle: bool


class Value:
    """An integer or a float, or a vector of them; with a vector, a single number acts on every lane.

    Integers have no sign of their own: `>>` fills with zeros, and `signed_floats` says it where it matters.
    """

    __slots__ = ("builder", "ir")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.ir = builder, value

    @property
    def lanes(self) -> int:
        """How many numbers; 0 for a single one that is no vector."""
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
        """A bit a lane: the integers are the same."""
        left, right = self._pair(other)
        return self._new(self.builder.icmp_unsigned("==", left, right))

    def is_below(self, other: Value | Number) -> Value:
        """A bit a lane: the integer, taken without a sign, is smaller."""
        left, right = self._pair(other)
        return self._new(self.builder.icmp_unsigned("<", left, right))

    def choose(self, where_set: Value, elsewhere: Value) -> Value:
        """By these bits, numbers of the one or of the other."""
        lanes = max(self.lanes, where_set.lanes, elsewhere.lanes)
        return self._new(self.builder.select(self.ir, where_set.spread(lanes).ir, elsewhere.spread(lanes).ir))

    def taken(self, lanes: Sequence[int], other: Value | None = None) -> Value:
        """Lanes by their numbers, which go on in `other`."""
        return self._shuffle(lanes, (other or self).ir)

    def chosen_from(self, both: Value) -> Value:
        """32 lanes of bytes below 16 → the bytes of a table of 16, by AVX2's shuffle, which does it in each half."""
        shuffle = self.builder.module.globals.get(_SHUFFLE)
        if shuffle is None:
            kind = self.ir.type
            shuffle = ir.Function(self.builder.module, ir.FunctionType(kind, [kind, kind]), _SHUFFLE)
        return self._new(self.builder.call(shuffle, [both.ir, self.ir]))

    def look_up(self, table: NDArray[np.int8]) -> Value:
        """Lanes of bytes below 16 → the bytes of a table of 16, by a tree of choices in registers."""
        layer = [_constant(self.ir.type, int(entry)) for entry in table]
        for bit in range(4):
            is_set = (self & (1 << bit)).equals(1 << bit).ir
            pairs = zip(layer[1::2], layer[::2], strict=True)
            layer = [self.builder.select(is_set, one, zero) for one, zero in pairs]
        return self._new(layer[0])

    def __getitem__(self, lanes: int | slice) -> Value:
        """One lane as a single number, or a run of lanes."""
        if isinstance(lanes, int):
            return self._new(self.builder.extract_element(self.ir, _constant(WORD, lanes)))
        return self._shuffle(range(*lanes.indices(self.lanes)), self.ir)

    def in_turn_with(self, other: Value) -> Value:
        """The first lane of both, then the second of both, and so on; as many of each."""
        return self._shuffle([lane + of for lane in range(self.lanes) for of in (0, self.lanes)], other.ir)

    def followed_by(self, other: Value) -> Value:
        """The lanes of both, as many of each."""
        return self._shuffle(range(2 * self.lanes), other.ir)

    def spread(self, lanes: int) -> Value:
        """A single number in every lane of a vector; what is a vector already, or is to be none, stays."""
        if self.lanes == lanes:
            return self
        undefined = ir.Constant(ir.VectorType(self.element, lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, self.ir, _constant(WORD, 0))
        return self._new(first)._shuffle([0] * lanes, undefined)

    def floats(self) -> Value:
        """Integers without a sign, in float32, rounded once; exact up to 2²⁴."""
        return self._new(self.builder.uitofp(self.ir, self._of(FLOAT)))

    def signed_floats(self) -> Value:
        """Integers with a sign, in float32, rounded once; exact up to 2²⁴."""
        return self._new(self.builder.sitofp(self.ir, self._of(FLOAT)))

    def rounded(self, element: Any) -> Value:
        """Floats in a narrower type, each rounded once to nearest even."""
        return self._new(self.builder.fptrunc(self.ir, self._of(element)))

    def widen(self, bits: int) -> Value:
        """Integers in more bits, filled with zeros."""
        return self._new(self.builder.zext(self.ir, self._of(ir.IntType(bits))))

    def narrow(self, bits: int) -> Value:
        """The lowest bits of integers."""
        return self._new(self.builder.trunc(self.ir, self._of(ir.IntType(bits))))

    def upper_halves(self) -> Value:
        """The upper 16 bits of integers of 32, by one shuffle rather than shifts."""
        halves = self.builder.bitcast(self.ir, ir.VectorType(ir.IntType(16), 2 * self.lanes))
        return self._new(halves)._shuffle(range(1, 2 * self.lanes, 2), halves)

    def as_integers(self, bits: int) -> Value:
        """The same bits as integers of so many, the lowest first."""
        width = _WIDTHS.get(self.element) or self.element.width
        kind = ir.IntType(bits)
        if self.lanes:
            kind = ir.VectorType(kind, self.lanes * width // bits)
        return self._new(self.builder.bitcast(self.ir, kind))

    def bits(self) -> Value:
        """Float32's bits as integers of 32."""
        return self.as_integers(32)

    def as_floats(self) -> Value:
        """The float32 of which these are the 32 bits."""
        return self._new(self.builder.bitcast(self.ir, self._of(FLOAT)))

    def magnitude(self) -> Value:
        """Float32 without its sign."""
        return (self.bits() & 0x7FFFFFFF).as_floats()

    def shifted_by_lane(self, bits: int) -> Value:
        """A single integer in 16 lanes, lane i shifted right by i times so many bits."""
        amounts = [ir.Constant(self.ir.type, bits * lane) for lane in range(16)]
        shifts = ir.Constant(ir.VectorType(self.ir.type, 16), amounts)
        return self._new(self.builder.lshr(self.spread(16).ir, shifts))

    def flags(self) -> Value:
        """An integer's bits, the lowest first, as the bits of as many lanes."""
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
    """32 weights that depend on a code each, lanes of bytes below 16, and how: codes in any lanes → float32."""

    codes: Value
    weights_of: Callable[[Value], Value]


class HasLayout(Protocol):
    """A type of blocks, as far as vector code needs it."""

    @property
    def layout(self) -> np.dtype[np.void]:
        """The bytes of one block, with named fields."""


class Block:
    """One block in memory, its fields under the names of the type's layout.

    bounds: what `is_within` was told.
    """

    def __init__(self, builder: Any, type: HasLayout, address: Any, has: Has) -> None:
        self.builder, self.layout, self.address, self.has = builder, type.layout, address, has
        self.bounds: list[Value] = []

    def is_within(self, *bounds: Value) -> None:
        """No weight of the block is larger in magnitude than the largest of these numbers, if they are finite.

        A type that says so spares the kernel to look at every weight.
        """
        self.bounds += bounds

    def coded(self, codes: Value, weights_of: Callable[[Value], Value]) -> CodedWeights:
        """32 weights of which equal codes are equal: where bytes can be shuffled, all sixteen are made and looked up.

        codes: bytes below 16.
        """
        return CodedWeights(codes, weights_of)

    def numbers(self, field: str, first: int = 0, count: int = 0) -> Value:
        """`count` numbers of a field from the `first` on as a vector; without a count a single one.

        Halves and floats are float32, exact but for a double, which is rounded once; integers are as they are.
        """
        kind, offset = self._field(field)
        element = {"f4": FLOAT, "f8": DOUBLE}.get(kind.str[1:], ir.IntType(8 * kind.itemsize))
        found = self._load(offset + first * kind.itemsize, element, count)
        if kind.str[1:] == "f2":
            return self.half(found)
        return found.rounded(FLOAT) if kind.str[1:] == "f8" else found

    def word(self, field: str, byte: int, bits: int) -> Value:
        """An integer of so many bits that begins at a byte of a field."""
        _, offset = self._field(field)
        return self._load(offset + byte, ir.IntType(bits), 0)

    def half(self, stored: Value) -> Value:
        """The bits of halves → float32, exact.

        A single one goes by a vector: LLVM would load it into a part of a register, which waits for the rest.
        """
        if self.has.halves and not stored.lanes:
            zeros = ir.Constant(ir.VectorType(stored.element, 8), None)
            alone = self.builder.insert_element(zeros, stored.ir, _constant(WORD, 0))
            return self.half(Value(self.builder, alone))[0]
        if self.has.halves:
            half = self.builder.bitcast(stored.ir, stored._of(HALF))
            return Value(self.builder, self.builder.fpext(half, stored._of(FLOAT)))
        # Exponent and mantissa moved to a float32's are the half times 2^-112, subnormal halves included.
        wide = stored.widen(32)
        moved = (wide & 0x7FFF) << 13
        finite = (moved.as_floats() * 2.0**112).bits()
        magnitude = (wide & 0x7C00).equals(0x7C00).choose(moved | 0x7F800000, finite)
        return (magnitude | (wide & 0x8000) << 16).as_floats()

    def row(self, table: NDArray[Any], index: Value) -> Value:
        """A row of a constant table: a vector of its bytes, or its single float32."""
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
        """The table as the module's own constant, once."""
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
