"""GGUF files written from plain values, byte for byte as told; every field can be made to lie.

Shares nothing with `formats`, so it can judge it, and nothing with gguf-py, which refuses to write what is wrong.
Shapes are in ggml's order here (`ne`: the contiguous dimension first), as they stand in the file.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "B",
    U64: "Q",
    I64: "q",
    F64: "d",
}
TYPE_F32, TYPE_F16, TYPE_Q8_0, TYPE_Q4_K, TYPE_I32, TYPE_BF16 = 0, 1, 8, 12, 26, 30
BLOCKS = {  # tensor type → weights and bytes of a block
    TYPE_F32: (1, 4),
    TYPE_F16: (1, 2),
    TYPE_Q8_0: (32, 34),
    TYPE_Q4_K: (256, 144),
    TYPE_I32: (1, 4),
    TYPE_BF16: (1, 2),
}
MOST_MADE = 1 << 14  # weights made for a tensor whose data is not given, however large it claims to be

Text = str | bytes
Scalar = Text | bool | int | float


@dataclass(frozen=True)
class Value:
    """A value and its type; count: what an array says of its length; raw: bytes that stand in its place."""

    type: int
    data: Scalar | Sequence[Scalar] = 0
    element: int = U32
    count: int | None = None
    raw: bytes | None = None

    def encoded(self, order: str) -> bytes:
        """The bytes after the type's number; order: < or >."""
        if self.raw is not None:
            return self.raw
        if self.type != ARRAY:
            return _scalar(self.type, self.data, order)
        assert isinstance(self.data, Sequence)
        count = len(self.data) if self.count is None else self.count
        elements = b"".join(_scalar(self.element, item, order) for item in self.data)
        return struct.pack(f"{order}IQ", self.element, count) + elements


def one(type: int, data: Scalar) -> Value:
    """A single value."""
    return Value(type, data)


def array(element: int, data: Sequence[Scalar], count: int | None = None) -> Value:
    """An array of one type, which may lie about its count."""
    return Value(ARRAY, data, element, count)


def raw(type: int, encoded: bytes) -> Value:
    """A type's number, right or not, and any bytes after it."""
    return Value(type, raw=encoded)


def string(text: Text, length: int | None = None, order: str = "<") -> bytes:
    """A string with its length before it, which may lie."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(f"{order}Q", len(raw) if length is None else length) + raw


def _scalar(type: int, data: object, order: str) -> bytes:
    if type == STRING:
        assert isinstance(data, str | bytes)
        return string(data, order=order)
    return struct.pack(order + CODES[type], data)


@dataclass
class TensorRow:
    """A row of the tensor table and the tensor's bytes; what is None is told truly."""

    name: Text
    ne: Sequence[int]
    type: int
    data: bytes
    name_length: int | None = None
    n_dims: int | None = None
    offset: int | None = None

    def copy(self) -> TensorRow:
        """A row that can be changed by itself."""
        return replace(self)


@dataclass
class Model:
    """Keys and tensors in order; counts and offsets are true unless they are given.

    marks: where `build` put what, for cutting a file short: `NAME:start`, `:type`, `:end`, `data`, …
    """

    magic: bytes = b"GGUF"
    version: int = 3
    align: int = 32
    order: str = "<"
    n_keys: int | None = None
    n_tensors: int | None = None
    keys: list[tuple[bytes, Value]] = field(default_factory=list)
    tensors: list[TensorRow] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)

    def key(self, name: Text, value: Value, at: int | None = None) -> Model:
        """Sets a key, in its old place if there is one; with `at`, inserts it there whatever else there is."""
        name = name.encode() if isinstance(name, str) else name
        if at is None:
            for index, (known, _) in enumerate(self.keys):
                if known == name:
                    self.keys[index] = name, value
                    return self
        self.keys.insert(len(self.keys) if at is None else at, (name, value))
        return self

    def tensor(
        self, name: Text, ne: Sequence[int], type: int = TYPE_Q8_0, *, data: bytes | None = None
    ) -> Model:
        """Sets a tensor, in its old place if there is one; without data it gets some that depends on its name."""
        if data is None:
            block, width = BLOCKS[type]
            data = random_weights(str(name), type, max(0, min(math.prod(ne), MOST_MADE)) // block, width)
        row = TensorRow(name, ne, type, data)
        for index, known in enumerate(self.tensors):
            if known.name == name:
                self.tensors[index] = row
                return self
        self.tensors.append(row)
        return self

    def change(self, name: Text, **fields: int | bytes) -> Model:
        """Changes fields of a tensor's row."""
        index = next(i for i, row in enumerate(self.tensors) if row.name == name)
        self.tensors[index] = replace(self.tensors[index], **fields)  # type: ignore[arg-type]
        return self

    def drop(self, *names: str) -> Model:
        """Leaves out keys or tensors."""
        self.keys = [key for key in self.keys if key[0] not in {name.encode() for name in names}]
        self.tensors = [row for row in self.tensors if row.name not in names]
        return self

    def build(self) -> bytes:
        """The file."""
        out = bytearray(self.magic)
        self._mark("magic", out)
        for name, code, number in (
            ("version", "I", self.version),
            ("tensor-count", "Q", len(self.tensors) if self.n_tensors is None else self.n_tensors),
            ("key-count", "Q", len(self.keys) if self.n_keys is None else self.n_keys),
        ):
            out += struct.pack(self.order + code, number)
            self._mark(name, out)
        for raw, value in self.keys:
            label = raw.decode("utf-8", "replace")
            self._mark(f"{label}:start", out)
            out += string(raw, order=self.order)
            self._mark(f"{label}:name", out)
            out += struct.pack(f"{self.order}I", value.type)
            self._mark(f"{label}:type", out)
            out += value.encoded(self.order)
            self._mark(f"{label}:end", out)
        data = self._table(out)
        out += bytes(-len(out) % self.align)
        self._mark("data", out)
        return bytes(out) + data

    def write(self, path: Path) -> Path:
        """The file, under this name."""
        path.write_bytes(self.build())
        return path

    def _mark(self, name: str, out: bytearray) -> None:
        self.marks[name] = len(out)

    def _table(self, out: bytearray) -> bytes:
        """Adds the tensor table; returns the data that comes after it."""
        data = bytearray()
        for row in self.tensors:
            label = str(row.name)
            self._mark(f"{label}:start", out)
            out += string(row.name, row.name_length, self.order)
            self._mark(f"{label}:name", out)
            out += struct.pack(f"{self.order}I", len(row.ne) if row.n_dims is None else row.n_dims)
            self._mark(f"{label}:dims", out)
            out += b"".join(struct.pack(f"{self.order}Q", _u64(extent)) for extent in row.ne)
            self._mark(f"{label}:shape", out)
            out += struct.pack(f"{self.order}I", row.type)
            self._mark(f"{label}:type", out)
            out += struct.pack(f"{self.order}Q", _u64(len(data) if row.offset is None else row.offset))
            self._mark(f"{label}:end", out)
            data += row.data + bytes(-len(row.data) % self.align)
        return bytes(data)


def random_weights(seed: str, type: int, blocks: int, width: int) -> bytes:
    """Small finite weights, around 1 in F32 as a norm's are, the same for the same seed."""
    rng = random.Random(seed)
    if type == TYPE_F32:
        return struct.pack(f"<{blocks}f", *[1.0 + rng.uniform(-0.1, 0.1) for _ in range(blocks)])
    if type == TYPE_F16:
        return struct.pack(f"<{blocks}e", *[rng.uniform(-0.1, 0.1) for _ in range(blocks)])
    if type == TYPE_Q8_0:
        return b"".join(struct.pack("<e", 1e-3) + rng.randbytes(32) for _ in range(blocks))
    return bytes(blocks * width)


def _u64(number: int) -> int:
    return number & (1 << 64) - 1
