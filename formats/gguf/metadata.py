"""The key-value pairs of a GGUF header as typed values; a value of another type than asked for is an error."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable


class ValueType(enum.IntEnum):
    """The value types of GGUF. Source: ggml/include/gguf.h, `enum gguf_type`."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    U64 = 10
    I64 = 11
    F64 = 12


T = ValueType
D = TypeVar("D")
INTEGERS = frozenset({T.U8, T.I8, T.U16, T.I16, T.U32, T.I32, T.U64, T.I64})
FLOATS = frozenset({T.F32, T.F64})
LENGTH_BYTES = 8  # before each string
DECODED_AT_ONCE = 1 << 14  # strings per decode: bounds the temporary arrays


class StringArray:
    """A string array inside the header's buffer: string i is `lengths[i]` bytes from `starts[i]`."""

    __slots__ = ("_header", "lengths", "starts")

    def __init__(self, header: bytearray, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        self._header = header
        self.starts = starts
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, index: int) -> bytes:
        """Return the bytes of one string, valid UTF-8 or not."""
        start = int(self.starts[index])
        return bytes(memoryview(self._header)[start : start + int(self.lengths[index])])

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def tolist(self) -> list[str]:
        """Return all strings; UnicodeDecodeError if one is not UTF-8 (`first_invalid` says which)."""
        strings: list[str] = []
        for first in range(0, len(self), DECODED_AT_ONCE):
            strings += self._decode(slice(first, first + DECODED_AT_ONCE))
        return strings

    def _decode(self, some: slice) -> list[str]:
        """Decode a slice of the strings with one decode call, which takes half the time of one call per string."""
        raw, lengths_at = self._blank_lengths(some)
        text = raw.decode("utf-8")
        within_character = (np.frombuffer(raw, np.uint8) & 0xC0) == 0x80  # UTF-8 continuation bytes
        characters = self.lengths[some] - np.add.reduceat(within_character, lengths_at, dtype=np.int64)
        ends = np.cumsum(characters + LENGTH_BYTES)
        places = zip((ends - characters).tolist(), ends.tolist(), strict=True)
        return [text[start:end] for start, end in places]

    def first_invalid(self) -> int | None:
        """Return the index of the first string that is not UTF-8, by one decode of all strings; None if all are."""
        if not len(self):
            return None
        raw, lengths_at = self._blank_lengths(slice(None))
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            return int(np.searchsorted(lengths_at, error.start, "right")) - 1
        return None

    def encoded(self) -> bytearray:
        """Return all strings as GGUF stores them in little-endian order: each after its length in 8 bytes."""
        if not len(self):
            return bytearray()
        raw, lengths_at = self._blank_lengths(slice(None))
        lengths = np.ascontiguousarray(self.lengths, "<i8").view(np.uint8).reshape(-1, LENGTH_BYTES)
        view = np.frombuffer(raw, np.uint8)
        for byte in range(LENGTH_BYTES):
            view[lengths_at + byte] = lengths[:, byte]
        return raw

    def _blank_lengths(self, some: slice) -> tuple[bytearray, NDArray[np.int64]]:
        """Return a slice's bytes and the places of its length fields, which are blanked so as not to join strings."""
        starts, lengths = self.starts[some], self.lengths[some]
        first = int(starts[0]) - LENGTH_BYTES
        raw = bytearray(memoryview(self._header)[first : int(starts[-1] + lengths[-1])])
        view, lengths_at = np.frombuffer(raw, np.uint8), starts - (LENGTH_BYTES + first)
        for byte in range(LENGTH_BYTES):
            view[lengths_at + byte] = ord(" ")
        return raw, lengths_at


Scalar = int | float | bool | str
Array = StringArray | NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a header. Of an array, `type` is ARRAY and `element` its element type; else both are the same.

    offset: where the value begins in the file.
    """

    key: str
    type: ValueType
    element: ValueType
    offset: int
    data: Scalar | Array

    @property
    def type_name(self) -> str:
        """The type as the specification spells it, in lower case: `u32`, `array of string`."""
        return f"array of {self.element.name.lower()}" if self.type is T.ARRAY else self.type.name.lower()

    def wrong(self, expected: str) -> MalformedInput:
        """Return the error for a value of another type than expected."""
        return MalformedInput(
            f"has type {self.type_name}, not {expected}",
            where=f"key {printable(self.key)}",
            offset=self.offset,
        )


class Required(enum.Enum):
    """The default that means: the key must be present."""

    REQUIRED = enum.auto()


REQUIRED = Required.REQUIRED


class Metadata(Mapping[str, Value]):
    """The keys and values of a header, in the file's order, with getters that check the type.

    Every getter takes a default for a missing key; without one, a missing key is a MalformedInput that names it. A
    value of another type is a MalformedInput too, never guessed at; integers of any width are accepted as an integer,
    floats of either width and integers as a number.
    """

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, key: str) -> Value:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _find(self, key: str, default: object) -> Value | None:
        value = self._values.get(key)
        if value is None and default is REQUIRED:
            raise MalformedInput("is missing", where=f"key {printable(key)}")
        return value

    def text(self, key: str, default: D | Required = REQUIRED) -> str | D:
        """Return a string."""
        value = self._find(key, default)
        if value is None:
            return cast(D, default)
        if not isinstance(value.data, str):
            raise value.wrong("string")
        return value.data

    def integer(self, key: str, default: D | Required = REQUIRED) -> int | D:
        """Return an integer of any width."""
        value = self._find(key, default)
        if value is None:
            return cast(D, default)
        if value.type not in INTEGERS:
            raise value.wrong("an integer")
        return cast(int, value.data)

    def number(self, key: str, default: D | Required = REQUIRED) -> float | D:
        """Return a finite number exactly as stored: the float32 of 1e-05 is returned as 9.999999747378752e-06."""
        value = self._find(key, default)
        if value is None:
            return cast(D, default)
        if value.type not in INTEGERS | FLOATS:
            raise value.wrong("a number")
        number = float(cast(float, value.data))
        if not math.isfinite(number):
            raise MalformedInput(
                f"is {number}, not finite", where=f"key {printable(key)}", offset=value.offset
            )
        return number

    def decimal(self, key: str, default: D | Required = REQUIRED) -> float | D:
        """Return a finite number as its author wrote it: for a float32, the shortest decimal that rounds to it."""
        number = self.number(key, default)
        value = self._values.get(key)
        if value is None or value.type is not T.F32:
            return number
        return float(str(np.float32(cast(float, value.data))))

    def flag(self, key: str, default: D | Required = REQUIRED) -> bool | D:
        """Return a bool."""
        value = self._find(key, default)
        if value is None:
            return cast(D, default)
        if not isinstance(value.data, bool):
            raise value.wrong("bool")
        return value.data

    def texts(self, key: str, default: D | Required = REQUIRED) -> StringArray | D:
        """Return an array of strings, not yet decoded."""
        value = self._find(key, default)
        if value is None:
            return cast(D, default)
        if not isinstance(value.data, StringArray):
            raise value.wrong("an array of strings")
        return value.data

    def descriptive_texts(self, key: str) -> list[str]:
        """Return the strings of a descriptive key, which is a string or an array of strings; none otherwise.

        Writers differ in which they use, and llama.cpp, which only shows such keys, accepts both.
        """
        data = None if (value := self._values.get(key)) is None else value.data
        if isinstance(data, StringArray):
            return [data.raw(i).decode("utf-8", "replace") for i in range(len(data))]
        return [data] if isinstance(data, str) else []

    def integers(self, key: str, default: D | Required = REQUIRED) -> NDArray[np.integer] | D:
        """Return an array of integers (a read-only view); an array of bools is accepted as one of 0 and 1."""
        value = self._find(key, default)
        if value is None:
            return cast(D, default)
        if value.type is not T.ARRAY or value.element not in INTEGERS | {T.BOOL}:
            raise value.wrong("an array of integers")
        return cast("NDArray[np.integer]", value.data)

    def numbers(self, key: str, default: D | Required = REQUIRED) -> NDArray[np.floating] | D:
        """Return an array of floats (a read-only view), which need not be finite."""
        value = self._find(key, default)
        if value is None:
            return cast(D, default)
        if value.type is not T.ARRAY or value.element not in FLOATS:
            raise value.wrong("an array of floats")
        return cast("NDArray[np.floating]", value.data)
