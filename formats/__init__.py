"""The file formats of models: GGUF, safetensors, quantized blocks, tokenizers. Knows nothing of what a model means.

`gguf` reads GGUF headers and tensor bytes, `safetensors` lays out and reads safetensors folders, `quants` decodes
quantized blocks, `tokenizer` builds a tokenizer.json from a GGUF vocabulary, `scan` looks for risks in what a model
brings along. Bad input is a `base.errors.InputError`. Imports only `base`.
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
