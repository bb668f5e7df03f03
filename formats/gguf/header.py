"""The values in a GGUF header's bytes: names, numbers, arrays; every length is checked before it is used.

The file is read into one buffer that grows a window at a time and never past `Limits.header_bytes`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.gguf.metadata import StringArray, Value, ValueType
from llorch.formats.gguf.strings import ByteOrder, scan_strings

# (number of bytes, file offset) → bytes; may return fewer, as os.pread may
ReadAt = Callable[[int, int], bytes]

WINDOW = 1 << 20  # bytes read at a time
LEAST_KEY, LEAST_TENSOR = 14, 33  # bytes of the shortest possible key-value pair and tensor row

T = ValueType
_CODES = {
    T.U8: "B",
    T.I8: "b",
    T.U16: "H",
    T.I16: "h",
    T.U32: "I",
    T.I32: "i",
    T.F32: "f",
    T.BOOL: "B",
    T.U64: "Q",
    T.I64: "q",
    T.F64: "d",
}
_STRUCTS = {
    order: {type: struct.Struct(sign + code) for type, code in _CODES.items()}
    for order, sign in (("little", "<"), ("big", ">"))
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a header may ask for: far above every published model, far below what would exhaust memory."""

    header_bytes: int = 128 << 20
    keys: int = 1 << 16
    tensors: int = 1 << 18
    key_bytes: int = 65535  # gguf.md
    name_bytes: int = 63  # GGML_MAX_NAME is 64 with the NUL
    string_bytes: int = 16 << 20
    strings: int = 8 << 20  # elements of all string arrays together
    alignment: int = 1 << 20


class HeaderReader:
    """Reads values in order from a file of `size` bytes, whose bytes `read` gives.

    `order` is little until `preamble` finds a big-endian version. `what` of a method is a phrase for what it reads, for
    its error messages.
    """

    def __init__(self, read: ReadAt, size: int, limits: Limits) -> None:
        self.buffer = bytearray()
        self.position = 0
        self.order: ByteOrder = "little"
        self._read = read
        self._size = size
        self._limits = limits
        self._strings = 0
        self._array = ""  # the array being scanned, for the message of a bad string in it

    def preamble(self) -> tuple[int, int, int]:
        """Read the magic and return (version, number of tensors, number of keys)."""
        if self._size < 4:
            raise MalformedInput(f"is no GGUF file: {self._size} bytes are too short (truncated?)")
        at = self._take(4, "the magic")
        magic = bytes(self.buffer[at : at + 4])
        if magic != b"GGUF":
            raise MalformedInput(f"is no GGUF file: its magic is {printable(magic)}, not 'GGUF'", offset=0)
        version = self.count(T.U32, "the version")
        if version == 3 << 24:
            self.order, version = "big", 3
        if version in (1 << 24, 2 << 24):
            raise UnsupportedInput(
                f"is a big-endian GGUF file of version {version >> 24}; supported is big-endian version 3",
                offset=4,
            )
        if version not in (2, 3):
            raise UnsupportedInput(f"has GGUF version {version}; supported are 2 and 3", offset=4)
        n_tensors = self.count(T.U64, "the tensor count")
        n_keys = self.count(T.U64, "the key count")
        self._require_room("tensor", n_tensors, LEAST_TENSOR, self._limits.tensors, 8)
        self._require_room("key", n_keys, LEAST_KEY, self._limits.keys, 16)
        return version, n_tensors, n_keys

    def _require_room(self, what: str, count: int, least: int, most: int, at: int) -> None:
        if count > most:
            raise MalformedInput(f"the {what} count {count} is more than the limit {most}", offset=at)
        left = self._size - self.position
        if count > left // least:
            raise MalformedInput(
                f"the {what} count {count} is more than the {left} bytes left can hold: truncated?", offset=at
            )

    def count(self, type: ValueType, what: str) -> int:
        """Read an unsigned integer of the given type."""
        return int(self._scalar(type, what))

    def counts(self, n: int, what: str) -> tuple[int, ...]:
        """Read `n` 64-bit integers; signed, so that an absurd one shows as negative."""
        at = self._take(8 * n, what)
        sign = "<" if self.order == "little" else ">"
        return struct.unpack_from(f"{sign}{n}q", self.buffer, at)

    def name(self, most: int, what: str) -> str:
        """Read a key or tensor name: UTF-8, not empty, at most `most` bytes, printable."""
        raw, at = self._text(most, what)
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedInput(f"{what} {printable(raw)} is not UTF-8", offset=at) from None
        if not name:
            raise MalformedInput(f"{what} is empty", offset=at)
        if not name.isprintable():
            raise MalformedInput(f"{what} {printable(raw)} has a character that is not printable", offset=at)
        return name

    def value(self, key: str) -> Value:
        """Read the value of a key: its type, then a scalar, a string or an array."""
        what = f"key {printable(key)}"
        type = self._value_type(f"the type of {what}")
        at = self.position
        if type is T.ARRAY:
            return self._any_array(key, at)
        if type is not T.STRING:
            return Value(key, type, type, at, self._scalar(type, f"the value of {what}"))
        raw, start = self._text(self._limits.string_bytes, f"the value of {what}")
        try:
            return Value(key, type, type, at, raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise MalformedInput("is not UTF-8", where=what, offset=start + error.start) from None

    def _value_type(self, what: str) -> ValueType:
        number = self.count(T.U32, what)
        if number not in T.__members__.values():
            raise MalformedInput(f"{what} is {number}, no value type of GGUF", offset=self.position - 4)
        return T(number)

    def _any_array(self, key: str, at: int) -> Value:
        what = f"key {printable(key)}"
        element = self._value_type(f"the element type of {what}")
        if element is T.ARRAY:
            raise MalformedInput("is an array of arrays", where=what, offset=at)
        count = self.count(T.U64, f"the count of {what}")
        if element is T.STRING:
            return Value(key, T.ARRAY, element, at, self._string_array(count, what, at))
        stored = np.dtype(_STRUCTS[self.order][element].format)
        start = self._take(count * stored.itemsize, f"the array of {what}")
        # A copy: a bytearray with a view on it cannot grow.
        data = np.frombuffer(bytes(memoryview(self.buffer)[start : self.position]), stored)
        if self.order == "big":
            data = data.astype(stored.newbyteorder("<"))
            data.flags.writeable = False
        if element is T.BOOL and len(odd := np.flatnonzero(data > 1)):
            raise MalformedInput(
                f"element {odd[0]} is a bool that is not 0 or 1", where=what, offset=start + int(odd[0])
            )
        return Value(key, T.ARRAY, element, at, data)

    def _string_array(self, count: int, what: str, at: int) -> StringArray:
        self._strings += count
        if self._strings > self._limits.strings:
            raise MalformedInput(
                f"is an array with count {count}: a header's limit is {self._limits.strings} strings",
                where=what,
                offset=at + 4,
            )
        self._array = what
        return StringArray(self.buffer, *scan_strings(self, count))

    def require_string(self, index: int, length: int, at: int) -> None:
        """Raise MalformedInput if string `index` of the current array, its length field at `at`, is too long."""
        end = at + 8 + length
        if length > self._limits.string_bytes or end > min(self._size, self._limits.header_bytes):
            raise MalformedInput(
                f"string {index} has length {length}: truncated, corrupt or past the header limit",
                where=self._array,
                offset=at,
            )

    def fill(self, upto: int) -> None:
        """Read until the buffer reaches `upto`, or the end of the file or the header limit if that comes first."""
        upto = min(upto, self._size, self._limits.header_bytes)
        while len(self.buffer) < upto:
            got = self._read(max(upto - len(self.buffer), 1 << 16), len(self.buffer))
            if not got:
                raise MalformedInput("the file was truncated while it was read", offset=len(self.buffer))
            self.buffer += got

    def _take(self, n: int, what: str) -> int:
        """Make `n` bytes available in the buffer, move past them and return where they begin."""
        at = self.position
        if n > self._size - at:
            raise MalformedInput(
                f"{what} needs {n} bytes, the file has {self._size - at} left: truncated or corrupt",
                offset=at,
            )
        if at + n > self._limits.header_bytes:
            raise MalformedInput(
                f"{what} ends past the header limit of {self._limits.header_bytes} bytes", offset=at
            )
        if at + n > len(self.buffer):
            self.fill(max(at + n, at + WINDOW))
        self.position = at + n
        return at

    def _scalar(self, type: ValueType, what: str) -> int | float | bool:
        packed = _STRUCTS[self.order][type]
        at = self._take(packed.size, what)
        value: int | float = packed.unpack_from(self.buffer, at)[0]
        if type is not T.BOOL:
            return value
        if value > 1:
            raise MalformedInput(f"{what} is the bool {value}, not 0 or 1", offset=at)
        return bool(value)

    def _text(self, most: int, what: str) -> tuple[bytes, int]:
        length = self.count(T.U64, f"the length of {what}")
        if length > most:
            raise MalformedInput(
                f"{what} has length {length}, more than the limit {most}", offset=self.position - 8
            )
        at = self._take(length, what)
        return bytes(memoryview(self.buffer)[at : at + length]), at
