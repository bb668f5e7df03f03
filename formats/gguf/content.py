"""What a GGUF model is, apart from how it is kept: a digest for each key's value, and for each tensor's bytes.

Blind to file names, to the order of keys and tensors and to how a set is split, so that a copy that was given another
template, name or number of parts is known for what it is, and what differs can be said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llorch.formats.gguf.file import Header
from llorch.formats.gguf.metadata import Metadata, StringArray, Value
from llorch.formats.gguf.tensor_data import TensorData

CHUNK = 1 << 22
OF_SPLIT = "split."  # keys that number the parts of a set
DIGITS = 16  # of a value's digest: it tells values apart, and proves nothing


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """A tensor of a set. shape: outermost dimension first. file: of its part. offset: in that file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    size: int
    sha256: str


def tensor_digests(header: Header) -> Iterator[TensorDigest]:
    """Every tensor of a model with the SHA-256 of its bytes, which are read for it. Raises InputError and OSError."""
    with TensorData(header) as data:
        for tensor in sorted(header.tensors.values(), key=lambda one: (one.part, one.offset)):
            digest = hashlib.sha256()
            for start in range(0, tensor.nbytes, CHUNK):
                digest.update(data.read(tensor, start, min(start + CHUNK, tensor.nbytes)).data)
            yield TensorDigest(
                tensor.name,
                tensor.type.name,
                tensor.shape,
                header.parts[tensor.part].path.name,
                tensor.offset,
                tensor.nbytes,
                digest.hexdigest(),
            )


def metadata_digests(metadata: Metadata) -> dict[str, str]:
    """Key → the first digits of a digest of its value, whatever the order of keys and the byte order of the file."""
    return {key: _of_value(metadata[key]) for key in sorted(metadata) if not key.startswith(OF_SPLIT)}


def _of_value(value: Value) -> str:
    digest = hashlib.sha256(value.type_name.encode() + b"\0")
    data = value.data
    if isinstance(data, str):
        digest.update(data.encode())
    elif isinstance(data, StringArray):
        digest.update(data.encoded())
    elif isinstance(data, np.ndarray):
        digest.update(np.ascontiguousarray(data, data.dtype.newbyteorder("<")).tobytes())
    else:
        digest.update(repr(data).encode())
    return digest.hexdigest()[:DIGITS]
