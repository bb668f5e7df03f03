"""Headers of GGUF files, versions 2 and 3: of one file, or of all parts of a split set, read within bounds.

The rules are llama.cpp's (ggml/src/gguf.cpp) and some stricter ones: no dimension of zero, printable names, bools of
0 or 1. `Limits` bound what any file can cost. Shapes are in NumPy order (rows first) from here on: ggml's reversed
order ends here.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.gguf.byte_order import require_swappable
from llorch.formats.gguf.header import HeaderReader, Limits, ReadAt
from llorch.formats.gguf.metadata import Metadata, Value, ValueType
from llorch.formats.gguf.split_set import part_paths, require_all_tensors, require_part
from llorch.formats.gguf.strings import ByteOrder
from llorch.formats.model_file import Identity, open_model_file
from llorch.formats.quants import QuantType, by_id


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a model: the whole model, unless it is split."""

    path: Path
    identity: Identity
    version: int
    data_offset: int
    byte_order: ByteOrder = "little"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One row of the tensor table.

    shape: in NumPy order, the contiguous dimension last. part: index of its file in `Header.parts`.
    offset: of its first byte, from the beginning of that file. nbytes: without padding.
    """

    name: str
    shape: tuple[int, ...]
    type: QuantType
    part: int
    offset: int
    nbytes: int

    @property
    def weights(self) -> int:
        """How many weights the tensor holds."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"tensor {printable(self.name)} ({self.type.name}, {' × '.join(map(str, self.shape))})"


@dataclass(frozen=True, slots=True)
class Header:
    """The headers of a model's files together; of a split set, the metadata is the first part's."""

    parts: tuple[Part, ...]
    metadata: Metadata
    tensors: Mapping[str, Tensor]

    @property
    def path(self) -> Path:
        """The file that was opened, or the first part of a split set."""
        return self.parts[0].path


def read_header(path: str | os.PathLike[str], limits: Limits | None = None) -> Header:
    """Read and check the header of a file, or of all parts if the file is a part of a split set.

    Raises InputError, which names the key or tensor, the byte and the file; OSError for what cannot be read.
    """
    limits = limits or Limits()
    named = read_part(Path(path), limits)
    try:
        paths = part_paths(named.path, named.metadata)
    except InputError as error:
        raise error.in_file(path) from None
    return named if len(paths) == 1 else _read_set(named, paths, limits)


def _read_set(named: Header, paths: list[Path], limits: Limits) -> Header:
    """Read all parts of a split set; `named` is the part that was already read."""
    headers: list[Header] = []
    tensors: dict[str, Tensor] = {}
    for index, path in enumerate(paths):
        try:
            header = named if path == named.path else read_part(path, limits)
            first = headers[0].metadata if headers else header.metadata
            require_part(index, len(paths), header.metadata, first)
            if twice := header.tensors.keys() & tensors.keys():
                raise MalformedInput(
                    "is a duplicate: an earlier part has it", where=f"tensor {printable(min(twice))}"
                )
        except FileNotFoundError:
            raise MalformedInput(
                f"part {index + 1} of {len(paths)} is missing: {printable(path.name)} is not there",
                path=named.path,
            ) from None
        except InputError as error:
            raise error.in_file(path) from error.__cause__
        tensors |= {name: replace(tensor, part=index) for name, tensor in header.tensors.items()}
        # Only the first part's metadata is kept: string arrays of the others would keep all their header bytes.
        headers.append(header if index == 0 else replace(header, metadata=Metadata()))
    try:
        require_all_tensors(headers[0].metadata, [len(header.tensors) for header in headers])
    except InputError as error:
        raise error.in_file(headers[0].path) from None
    return Header(tuple(header.parts[0] for header in headers), headers[0].metadata, tensors)


def read_part(
    path: str | os.PathLike[str], limits: Limits | None = None, *, read: ReadAt | None = None
) -> Header:
    """Read and check the header of one file, whether it is the whole model or a part; raises as `read_header` does.

    read: gives the file's bytes if the file at `path` is not filled yet, as for a file on a server; only the size is
    then taken from disk.
    """
    path, limits = Path(path), limits or Limits()
    with open_model_file(path) as fd:
        identity = Identity.of(fd)
        reader = HeaderReader(read or functools.partial(os.pread, fd), identity.size, limits)
        try:
            header = _read(reader, path, identity, limits)
            if read is None and Identity.of(fd) != identity:
                raise MalformedInput("the file changed while its header was read")
        except InputError as error:
            if reader.order == "big" and not error.hint:
                error.hint = "it was read as big-endian, which its version says it is"
            raise error.in_file(path) from error.__cause__
    return header


def read_texts(path: str | os.PathLike[str], keys: Sequence[str]) -> dict[str, str]:
    """Return the string values of `keys`, reading no further than the last of them; keys of other types are left out.

    Raises as `read_header` does, for what was read.
    """
    with open_model_file(Path(path)) as fd:
        reader = HeaderReader(functools.partial(os.pread, fd), Identity.of(fd).size, Limits())
        _, _, n_keys = reader.preamble()
        found: dict[str, str] = {}
        for index in range(n_keys):
            key = reader.name(Limits().key_bytes, f"the name of key {index}")
            data = reader.value(key).data
            if key in keys and isinstance(data, str):
                found[key] = data
                if len(found) == len(keys):
                    break
    return found


def _read(reader: HeaderReader, path: Path, identity: Identity, limits: Limits) -> Header:
    version, n_tensors, n_keys = reader.preamble()
    values: dict[str, Value] = {}
    for index in range(n_keys):
        at = reader.position
        key = reader.name(limits.key_bytes, f"the name of key {index}")
        if key in values:
            raise MalformedInput("is a duplicate", where=f"key {printable(key)}", offset=at)
        values[key] = reader.value(key)
    metadata = Metadata(values)
    alignment = _alignment(metadata, limits)
    rows = [_row(reader, index, alignment, limits) for index in range(n_tensors)]
    data_offset = reader.position + -reader.position % alignment
    part = Part(path, identity, version, data_offset, reader.order)
    return Header((part,), metadata, _place(rows, data_offset, alignment, identity.size))


def _alignment(metadata: Metadata, limits: Limits) -> int:
    key = "general.alignment"
    value = metadata.get(key)
    if value is None:
        return 32
    if value.type is not ValueType.U32:
        raise value.wrong("u32")
    alignment = metadata.integer(key)
    if not 0 < alignment <= limits.alignment or alignment & (alignment - 1):
        raise MalformedInput(
            f"is {alignment}, not a power of two up to {limits.alignment}",
            where=f"key {printable(key)}",
            offset=value.offset,
        )
    return alignment


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the tensor table. at: where the row begins in the file, for error messages."""

    name: str
    shape: tuple[int, ...]
    type: QuantType
    data_offset: int
    nbytes: int
    at: int


def _row(reader: HeaderReader, index: int, alignment: int, limits: Limits) -> _Row:
    at = reader.position
    name = reader.name(limits.name_bytes, f"the name of tensor {index}")
    where = f"tensor {printable(name)}"
    n_dims = reader.count(ValueType.U32, f"the number of dimensions of {where}")
    if not 1 <= n_dims <= 4:
        raise MalformedInput(f"has {n_dims} dimensions, not 1 to 4", where=where, offset=reader.position - 4)
    shape_at = reader.position
    shape = reader.counts(n_dims, f"the shape of {where}")[::-1]
    if min(shape) <= 0:
        raise MalformedInput(
            f"has a dimension that is not positive: {list(shape)}", where=where, offset=shape_at
        )
    try:
        type = by_id(reader.count(ValueType.U32, f"the type of {where}"))
    except UnsupportedInput as error:
        raise UnsupportedInput(error.what, where=where, offset=reader.position - 4) from None
    if shape[-1] % type.weights:
        raise MalformedInput(
            f"has rows of {shape[-1]} weights, not whole {type.name} blocks of {type.weights}",
            where=where,
            offset=shape_at,
        )
    if reader.order == "big":
        require_swappable(type, where)
    offset = reader.count(ValueType.U64, f"the offset of {where}")
    if offset % alignment:
        raise MalformedInput(
            f"has data offset {offset}, no multiple of the alignment {alignment}",
            where=where,
            offset=reader.position - 8,
        )
    return _Row(name, shape, type, offset, math.prod(shape) // type.weights * type.block_bytes, at)


def _place(rows: list[_Row], data_offset: int, alignment: int, size: int) -> dict[str, Tensor]:
    """Return the tensors with their file offsets. llama.cpp's rule: in the table's order, each right after the last."""
    tensors: dict[str, Tensor] = {}
    expected, before = 0, ""
    for row in rows:
        where = f"tensor {printable(row.name)}"
        if row.name in tensors:
            raise MalformedInput("is a duplicate", where=where, offset=row.at)
        end = data_offset + row.data_offset + row.nbytes
        if end > size:
            raise MalformedInput(
                f"({row.type.name}, {' × '.join(map(str, row.shape))}) ends at byte {end}, beyond the end of "
                f"the file at {size}: it is truncated",
                where=where,
                offset=row.at,
                hint="compare its size with the source's",
            )
        if row.data_offset != expected:
            how = f"overlaps tensor {printable(before)}" if row.data_offset < expected else "leaves a gap"
            raise MalformedInput(
                f"has data offset {row.data_offset}, where {expected} is expected: it {how}",
                where=where,
                offset=row.at,
            )
        expected, before = row.data_offset + row.nbytes + -row.nbytes % alignment, row.name
        tensors[row.name] = Tensor(
            row.name, row.shape, row.type, 0, data_offset + row.data_offset, row.nbytes
        )
    return tensors
