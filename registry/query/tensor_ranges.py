"""Where the tensors of a safetensors file lie: its header, and no more, read with bounds.

A second reader beside the one of `formats`, for the registry asks no other room; it only has to find again what
was recorded, so whatever is not plain is refused.
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

LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class TensorRange:
    """A tensor's bytes in its file: from `start` up to `end`, counted from the file's first byte."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def tensor_ranges(path: Path) -> list[TensorRange]:
    """The tensors of a safetensors file, in the order of their bytes. Raises RefusedRecord and OSError."""
    with path.open("rb") as file:
        return ranges_of(file, path)


def ranges_of(file: BinaryIO, path: Path) -> list[TensorRange]:
    """As `tensor_ranges`, of an open file."""
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
    """One entry of a header; offsets there are counted from `data`, the first byte after it."""
    start, end = (int(number) for number in row["data_offsets"])
    return TensorRange(str(name), str(row["dtype"]), tuple(map(int, row["shape"])), data + start, data + end)


def hashed_tensors(folder: Path) -> Iterator[TensorRecord]:
    """Every tensor of a folder's safetensors files, with the SHA-256 of its bytes."""
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            for found in ranges_of(file, path):
                digest = sha256_of_range(file, found.start, found.end)
                size = found.end - found.start
                inside = path.relative_to(folder).as_posix()
                yield TensorRecord(found.name, found.dtype, found.shape, inside, found.start, size, digest)


def sha256_of_range(file: BinaryIO, start: int, end: int) -> str:
    """The SHA-256 of a part of a file; of a file that ends before, of what there is."""
    digest = hashlib.sha256()
    file.seek(start)
    while start < end and (chunk := file.read(min(CHUNK, end - start))):
        digest.update(chunk)
        start += len(chunk)
    return digest.hexdigest()
