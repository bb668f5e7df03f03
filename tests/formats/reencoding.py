"""Write a header again after reading it: equal bytes show that nothing was lost, added or misread."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from llorch.formats.gguf.file import Header
from llorch.formats.gguf.metadata import StringArray
from llorch.formats.gguf.metadata import Value as Read
from tests.models.gguf_writer import ARRAY, CODES, STRING, Value, one, raw, string


def reencoded(header: Header, file: bytes) -> bytes:
    """Return the bytes of a one-part file up to the end of its tensor table; `file` has the bits of its NaNs."""
    part = header.parts[0]
    order = ">" if part.byte_order == "big" else "<"
    out = bytearray(
        b"GGUF" + struct.pack(f"{order}IQQ", part.version, len(header.tensors), len(header.metadata))
    )
    for key, value in header.metadata.items():
        written = _value(value, order, file)
        out += string(key, order=order) + struct.pack(f"{order}I", written.type) + written.encoded(order)
    for tensor in header.tensors.values():
        ne = tensor.shape[::-1]
        out += string(tensor.name, order=order)
        out += struct.pack(f"{order}I{len(ne)}QI", len(ne), *ne, tensor.type.id)
        out += struct.pack(f"{order}Q", tensor.offset - part.data_offset)
    return bytes(out)


def require_same_again(header: Header, path: Path) -> None:
    """AssertionError unless the header, written again, equals the beginning of the file."""
    file = path.read_bytes()
    again = reencoded(header, file)
    assert file[: len(again)] == again
    assert header.parts[0].data_offset >= len(again)


def _value(value: Read, order: str, file: bytes) -> Value:
    if isinstance(value.data, StringArray):
        texts = b"".join(string(value.data.raw(i), order=order) for i in range(len(value.data)))
        return raw(ARRAY, struct.pack(f"{order}IQ", STRING, len(value.data)) + texts)
    if isinstance(value.data, np.ndarray):
        stored = value.data.astype(value.data.dtype.newbyteorder("<" if order == "<" else ">"))
        return raw(ARRAY, struct.pack(f"{order}IQ", value.element, len(stored)) + stored.tobytes())
    if value.data != value.data:
        size = struct.calcsize(CODES[value.type])
        return raw(value.type, file[value.offset : value.offset + size])
    return one(value.type, value.data)
