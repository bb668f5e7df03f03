"""Digests of a GGUF model's content: one for each key's value, and one for each tensor's bytes.

They do not depend on file names, on the order of keys and tensors or on how a set is split, so that a copy with
another template, name or number of parts is recognized, and the difference can be named.
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
OF_SPLIT = "split."  # prefix of the keys that number the parts of a set
DIGITS = 16  # kept of a value's digest: enough to tell values apart, not to prove them equal


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """Digest of one tensor. shape: outermost dimension first. file: its part's name. offset: in that file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    size: int
    sha256: str


def tensor_digests(header: Header) -> Iterator[TensorDigest]:
    """Read every tensor of a model and yield its SHA-256, in the order of the files. Raises InputError and OSError."""
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
    """Return key → the first digits of its value's digest, independent of the keys' order and the file's byte order."""
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
