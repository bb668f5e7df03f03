"""What model files say, byte by byte; nothing of what a model means.

`gguf_file` reads GGUF headers, `safetensors_file` reads and lays out safetensors folders, `tensor_data` reads the
tensor bytes of both; `quants` knows how weights are packed, `tokenizer` turns a GGUF vocabulary into a tokenizer.json.
Whatever is wrong with an input is an `errors.InputError`. Nothing here imports another room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.kind import model_path
    from llorch.formats.model_file import Identity, open_descriptor, read_exactly
    from llorch.formats.safetensors import (
        BITS,
        HEADER_BYTES,
        INDEX,
        Layout,
        SafetensorsModel,
        SafetensorsTensor,
        lay_out,
        read_safetensors,
    )

__all__ = [
    "BITS",
    "HEADER_BYTES",
    "INDEX",
    "Identity",
    "Layout",
    "SafetensorsModel",
    "SafetensorsTensor",
    "lay_out",
    "model_path",
    "open_descriptor",
    "read_exactly",
    "read_safetensors",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "kind": ["model_path"],
        "model_file": ["Identity", "open_descriptor", "read_exactly"],
        "safetensors": [
            "BITS",
            "HEADER_BYTES",
            "INDEX",
            "Layout",
            "SafetensorsModel",
            "SafetensorsTensor",
            "lay_out",
            "read_safetensors",
        ],
    },
)
