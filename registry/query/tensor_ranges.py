"""The byte ranges of the tensors in a safetensors file, from its header, read with bounds.

This is a second reader besides that of `formats`, since the registry imports no other room. It only has to find tensors
that were recorded, so it is minimal and refuses anything unusual.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llorch.registry.errors import RefusedRecord, quote_text
from llorch.registry.records.records import TensorRecord

LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors library
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class TensorRange:
    """A tensor's bytes in its file: offsets from `start` up to, not including, `end`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def tensor_ranges(path: Path) -> list[TensorRange]:
    """Return the tensors of a safetensors file, sorted by offset. Raises RefusedRecord and OSError."""
    with path.open("rb") as file:
        return ranges_of(file, path)


def ranges_of(file: BinaryIO, path: Path) -> list[TensorRange]:
    """Return what `tensor_ranges` does, from an open file."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(LONGEST_HEADER, size - 8):
        raise RefusedRecord(f"{quote_text(path.name)}: its header does not fit into the file")
    try:
        header = json.loads(file.read(length))
        rows = [as_range(name, row, 8 + length) for name, row in header.items() if name != "__metadata__"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise RefusedRecord(f"{quote_text(path.name)}: its header is none of safetensors") from None
    if any(not 8 + length <= row.start <= row.end <= size for row in rows):
        raise RefusedRecord(f"{quote_text(path.name)}: a tensor ends after the file")
    return sorted(rows, key=lambda row: (row.start, row.end, row.name))


def as_range(name: str, row: dict[str, Any], data: int) -> TensorRange:
    """Parse one entry of a header; its offsets are relative to `data`, the first byte after the header."""
    start, end = (int(number) for number in row["data_offsets"])
    return TensorRange(str(name), str(row["dtype"]), tuple(map(int, row["shape"])), data + start, data + end)


def hashed_tensors(folder: Path) -> Iterator[TensorRecord]:
    """Yield every tensor of a folder's safetensors files, with the SHA-256 of its bytes."""
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            for found in ranges_of(file, path):
                digest = sha256_of_range(file, found.start, found.end)
                size = found.end - found.start
                inside = path.relative_to(folder).as_posix()
                yield TensorRecord(found.name, found.dtype, found.shape, inside, found.start, size, digest)


def sha256_of_range(file: BinaryIO, start: int, end: int) -> str:
    """Return the SHA-256 of a byte range of a file; if the file ends earlier, of the bytes there are."""
    digest = hashlib.sha256()
    file.seek(start)
    while start < end and (chunk := file.read(min(CHUNK, end - start))):
        digest.update(chunk)
        start += len(chunk)
    return digest.hexdigest()
