"""GGUF files: header, metadata, tensor table, split sets and tensor bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.gguf.content import TensorDigest, metadata_digests, tensor_digests
    from llorch.formats.gguf.file import Header, Tensor, read_header, read_part
    from llorch.formats.gguf.metadata import INTEGERS, REQUIRED, Metadata, Required, Value, ValueType
    from llorch.formats.gguf.tensor_data import TensorData

__all__ = [
    "INTEGERS",
    "REQUIRED",
    "Header",
    "Metadata",
    "Required",
    "Tensor",
    "TensorData",
    "TensorDigest",
    "Value",
    "ValueType",
    "metadata_digests",
    "read_header",
    "read_part",
    "tensor_digests",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "content": ["TensorDigest", "metadata_digests", "tensor_digests"],
        "file": ["Header", "Tensor", "read_header", "read_part"],
        "metadata": ["INTEGERS", "Metadata", "REQUIRED", "Required", "Value", "ValueType"],
        "tensor_data": ["TensorData"],
    },
)
