"""safetensors files and folders: their layout computed before writing, and strict reading.

A file is a u64 with the header's length, the header (JSON: name → dtype, shape, data_offsets), and the data.
`lay_out` gives every name, offset and size before a byte is written. `read_safetensors` refuses what readers
disagree on: duplicate names, holes, overlaps, bytes after the data, an index that does not fit its shards.

Limits: a header or an index of 64 MiB, 262,144 tensors, 64 dimensions.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.model_file import Identity, open_model_file, read_exactly

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

# Bits of one element. Source: safetensors/src/tensor.rs, `Dtype::bitsize`.
BITS: Mapping[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}

HEADER_BYTES = 64 << 20  # the format allows 100,000,000; a quarter of a million tensors need less than 64 MiB
TENSORS = 1 << 18
DIMENSIONS = 64  # the most that NumPy and torch allow
SHARD_NAME = re.compile(r"[A-Za-z0-9._-]+\.safetensors")
NAMES_SHOWN = 8  # tensor names in the error of an index that disagrees with its shards


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """One tensor of a file.

    part: index of its file in `Layout.files` or `SafetensorsModel.parts`. offset: of its first byte, from the beginning
    of that file. dtype: as safetensors spells it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    part: int
    offset: int
    nbytes: int

    @property
    def weights(self) -> int:
        """How many model weights the tensor holds: two a byte in the U8 `_blocks` of MXFP4, none in its U8 scales."""
        if self.dtype == "U8":
            return 2 * self.nbytes if self.name.endswith("_blocks") else 0
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"tensor {printable(self.name)} ({self.dtype}, {' × '.join(map(str, self.shape))})"


@dataclass(frozen=True, slots=True)
class LaidOutFile:
    """A file to write: its name in the folder, its header's bytes, and its final size."""

    name: str
    header: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything to write except the weights. index: the content of INDEX, None if one file holds everything."""

    files: tuple[LaidOutFile, ...]
    tensors: tuple[SafetensorsTensor, ...]
    index: bytes | None


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """A safetensors file whose header was read."""

    path: Path
    identity: Identity


@dataclass(frozen=True, slots=True)
class SafetensorsModel:
    """The tensors of one file, or of a folder's shards together, in the order of their bytes."""

    parts: tuple[SafetensorsFile, ...]
    tensors: Mapping[str, SafetensorsTensor]


def lay_out(tensors: Iterable[tuple[str, str, tuple[int, ...]]], max_shard_size: int) -> Layout:
    """Lay out tensors, given as (name, dtype, shape), in files; ValueError for a duplicate name.

    max_shard_size: the most bytes of tensors in a file; tensors are never cut, so a larger one has a file of its own.
    The file names are transformers': one model.safetensors, or numbered shards and an index. A file keeps the given
    order unless a tensor would lie at an offset that is no multiple of its element size: then tensors with larger
    elements come first, as the safetensors library writes them.
    """
    rows = [(name, dtype, shape, math.prod(shape) * BITS[dtype] // 8) for name, dtype, shape in tensors]
    shards: list[list[SafetensorsTensor]] = []
    for part, members in enumerate(balance([row[3] for row in rows], max_shard_size)):
        shard, at = [], 0
        for name, dtype, shape, nbytes in align([rows[member] for member in members]):
            shard.append(SafetensorsTensor(name, dtype, shape, part, at, nbytes))
            at += nbytes
        shards.append(shard)
    files = [
        _lay_out_file(shard, SINGLE if len(shards) == 1 else f"model-{n:05}-of-{len(shards):05}.safetensors")
        for n, shard in enumerate(shards, 1)
    ]
    placed = [
        SafetensorsTensor(t.name, t.dtype, t.shape, t.part, len(file.header) + t.offset, t.nbytes)
        for file, shard in zip(files, shards, strict=True)
        for t in shard
    ]
    weight_map = {t.name: files[t.part].name for t in placed}
    if len(weight_map) < len(placed):
        raise ValueError("two tensors have the same name")
    index = None
    if len(files) > 1:
        total = {"total_size": sum(t.nbytes for t in placed)}
        text = json.dumps({"metadata": total, "weight_map": dict(sorted(weight_map.items()))}, indent=2)
        index = text.encode() + b"\n"
    return Layout(tuple(files), tuple(placed), index)


Row = tuple[str, str, tuple[int, ...], int]


def align(rows: Sequence[Row]) -> Sequence[Row]:
    """Return a file's tensors as given if each lies at a multiple of its element size, else larger elements first.

    Readers that map a file want aligned tensors.
    """
    at = 0
    for _, dtype, _, nbytes in rows:
        if at % max(1, BITS[dtype] // 8):
            return sorted(rows, key=lambda row: BITS[row[1]], reverse=True)
        at += nbytes
    return rows


def balance(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Assign tensors of these sizes to shards, each of at most `most` bytes unless one tensor is larger.

    Returns the indices of each shard's tensors. A tensor above half of `most` has a shard of its own. The others, in
    their order, are cut into equal shares of their total size, each tensor going to the share that its middle lies in;
    so two such shards differ by at most two of the largest tensors. Shards are ordered by their first tensor.
    """
    if sum(sizes) <= most:
        return [list(range(len(sizes)))]
    rest = [index for index, size in enumerate(sizes) if 2 * size <= most]
    shards = [[index] for index, size in enumerate(sizes) if 2 * size > most]
    total = sum(sizes[index] for index in rest)
    count = -(-total // most)
    while True:
        parts: dict[int, list[int]] = {}
        at = 0  # twice the tensor's beginning, so that its middle is an integer
        for index in rest:
            part = min((at + sizes[index]) * count // max(1, 2 * total), max(0, count - 1))
            parts.setdefault(part, []).append(index)
            at += 2 * sizes[index]
        if all(sum(sizes[index] for index in part) <= most for part in parts.values()):
            return sorted([*shards, *parts.values()])
        count += 1


def _lay_out_file(shard: list[SafetensorsTensor], name: str) -> LaidOutFile:
    """Lay out one file. The shard's offsets still count from the beginning of the data."""
    rows: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers 4 refuses a file without it
    size = 0
    for t in shard:
        size = t.offset + t.nbytes
        rows[t.name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [t.offset, size]}
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    return LaidOutFile(name, header, len(header) + size)


def read_safetensors(path: str | os.PathLike[str], *, links: bool = False) -> SafetensorsModel:
    """Read the headers of a .safetensors file, or of a folder's model.safetensors or index and shards.

    Raises InputError, with the file, for whatever is wrong; OSError for what cannot be read. links: whether the files
    of a folder may be symbolic links.
    """
    path = Path(path)
    if not path.is_dir():
        return _join_parts([_read_file(path, 0)])
    single, index = path / SINGLE, path / INDEX
    if single.exists() and index.exists():
        raise MalformedInput(f"has {SINGLE} and {INDEX}: readers differ on which counts", path=path)
    if single.exists():
        return _join_parts([_read_file(single, 0, links=links)])
    if not index.exists():
        raise MalformedInput(f"has neither {SINGLE} nor {INDEX}", path=path)
    return _read_sharded(path, index, links=links)


Part = tuple[SafetensorsFile, list[SafetensorsTensor]]


def _join_parts(parts: list[Part]) -> SafetensorsModel:
    return SafetensorsModel(
        tuple(file for file, _ in parts), {t.name: t for _, tensors in parts for t in tensors}
    )


def _read_file(path: Path, part: int, *, links: bool = True) -> Part:
    try:
        with open_model_file(path, links=links) as fd:
            identity = Identity.of(fd)
            tensors = _tensors(fd, identity.size, part)
            if Identity.of(fd) != identity:
                raise MalformedInput("the file changed while its header was read")
            return SafetensorsFile(path, identity), tensors
    except InputError as error:
        raise error.in_file(path) from error.__cause__
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise MalformedInput("is a symbolic link", path=path) from None
        raise


def _tensors(fd: int, size: int, part: int) -> list[SafetensorsTensor]:
    """Return a file's tensors in the order of their bytes, which must cover the data without holes or overlaps."""
    length = int.from_bytes(_bytes(fd, 0, 8, size, "the header's length"), "little")
    if length > HEADER_BYTES:
        raise MalformedInput(f"has a header of {length} bytes, more than the limit {HEADER_BYTES}", offset=0)
    text = _bytes(fd, 8, length, size, "the header")
    if not text.startswith(b"{"):
        raise MalformedInput(f"has a header that begins with {printable(text[:8])}, not with '{{'", offset=8)
    rows = _json_object(text, "the header")
    _require_strings(rows.pop("__metadata__", {}))
    if len(rows) > TENSORS:
        raise MalformedInput(f"has {len(rows)} tensors, more than the limit {TENSORS}")
    tensors = [_row(name, row, part, 8 + length) for name, row in rows.items()]
    tensors.sort(key=lambda t: (t.offset, t.nbytes))
    expected, before = 8 + length, ""
    for t in tensors:
        if t.offset != expected:
            how = f"overlaps tensor {printable(before)}" if t.offset < expected else "leaves a hole before it"
            raise MalformedInput(
                f"begins at byte {t.offset}, where {expected} is expected: it {how}",
                where=f"tensor {printable(t.name)}",
            )
        expected, before = t.offset + t.nbytes, t.name
    if expected != size:
        how = "truncated" if expected > size else "bytes follow the last tensor"
        raise MalformedInput(f"its tensors end at byte {expected}, the file at {size}: {how}")
    return tensors


def _bytes(fd: int, at: int, count: int, size: int, what: str) -> bytes:
    if count > size - at:
        raise MalformedInput(
            f"{what} needs {count} bytes, the file has {size - at} left: truncated", offset=at
        )
    buffer = bytearray(count)
    if read_exactly(fd, memoryview(buffer), at) < count:
        raise MalformedInput("the file was truncated while it was read", offset=at)
    return bytes(buffer)


def _json_object(text: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object strictly: no duplicate names at any depth, no NaN or Infinity, no lone surrogates."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            again, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise MalformedInput(f"{what} has the name {printable(again)} twice: a duplicate")
        return found

    def no_number(name: str) -> float:
        raise ValueError(f"{name} is no JSON number")

    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_number)
        if b"\\u" in text:
            # A lone surrogate, which the parser accepts, cannot be encoded.
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except InputError:
        raise
    except UnicodeError:
        raise MalformedInput(f"{what} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        why = (
            "nested too deep"
            if isinstance(error, RecursionError)
            else printable(str(error), 120, quoted=False)
        )
        raise MalformedInput(f"{what} is not JSON: {why}") from None
    if not isinstance(parsed, dict):
        raise MalformedInput(f"{what} is no JSON object")
    return parsed


def _require_strings(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedInput("is not a map of strings to strings", where="__metadata__")


def _row(name: str, row: object, part: int, data_offset: int) -> SafetensorsTensor:
    where = f"tensor {printable(name)}"
    if not name or not name.isprintable():
        raise MalformedInput("has a name that is empty or not printable", where=where)
    if not isinstance(row, dict) or row.keys() != {"dtype", "shape", "data_offsets"}:
        raise MalformedInput("is not an object of dtype, shape and data_offsets", where=where)
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise UnsupportedInput(f"has the unknown dtype {printable(str(dtype))}", where=where)
    if not _are_sizes(shape) or len(shape) > DIMENSIONS:
        raise MalformedInput(f"has a shape that is not a list of at most {DIMENSIONS} sizes", where=where)
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise MalformedInput("has data_offsets that are not two offsets", where=where)
    begin, end = offsets
    bits = math.prod(shape) * BITS[dtype]
    if bits != 8 * (end - begin):
        raise MalformedInput(
            f"({dtype}, {' × '.join(map(str, shape))}) needs {bits / 8:.15g} bytes, its data_offsets span "
            f"{end - begin}",
            where=where,
        )
    return SafetensorsTensor(name, dtype, tuple(shape), part, data_offset + begin, end - begin)


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in values)


def _read_sharded(folder: Path, index: Path, *, links: bool) -> SafetensorsModel:
    """Read the shards that the index names: files with bare names, which must hold exactly the tensors it lists."""
    try:
        weight_map, total_size = _read_index(index, links=links)
    except InputError as error:
        raise error.in_file(index) from error.__cause__
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise MalformedInput("is a symbolic link", path=index) from None
        raise
    names = sorted(set(weight_map.values()))
    if missing := [name for name in names if not (folder / name).exists()]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        are = "are" if more else "is"
        raise MalformedInput(
            f"names {printable(missing[0])}{more}, which {are} not there",
            path=index,
            hint="fetch or copy what is missing",
        )
    parts = [_read_file(folder / name, part, links=links) for part, name in enumerate(names)]
    listed = [(t.name, file.path.name) for file, tensors in parts for t in tensors]
    differing = sorted(set(listed).symmetric_difference(weight_map.items()))
    if differing:
        names = list(dict.fromkeys(name for name, _ in differing))
        text = ", ".join(map(printable, names[:NAMES_SHOWN])) + (" …" if len(names) > NAMES_SHOWN else "")
        raise MalformedInput(f"disagrees with its shards about {text}", path=index)
    total = sum(t.nbytes for _, tensors in parts for t in tensors)
    if total != total_size:
        raise MalformedInput(
            f"has total_size {printable(str(total_size))}, the tensors have {total}", path=index
        )
    return _join_parts(parts)


def _read_index(index: Path, *, links: bool) -> tuple[dict[str, str], object]:
    """Return weight_map and total_size of an index."""
    with open_model_file(index, links=links) as fd:
        size = Identity.of(fd).size
        if size > HEADER_BYTES:
            raise MalformedInput(f"has {size} bytes, more than the limit {HEADER_BYTES}")
        content = _json_object(_bytes(fd, 0, size, size, "the index"), "the index")
    weight_map, metadata = content.get("weight_map"), content.get("metadata")
    if not isinstance(metadata, dict) or "total_size" not in metadata:
        raise MalformedInput("has no metadata with a total_size")
    if not isinstance(weight_map, dict) or len(weight_map) > TENSORS:
        raise MalformedInput(f"has no weight_map of at most {TENSORS} tensors")
    odd = [
        name for name in weight_map.values() if not isinstance(name, str) or not SHARD_NAME.fullmatch(name)
    ]
    if odd:
        raise MalformedInput(f"names the file {printable(str(odd[0]))}, which is no bare name of a shard")
    return weight_map, metadata["total_size"]
