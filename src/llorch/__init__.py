"""GGUF model files to Hugging Face safetensors folders: exact, recorded, and proven right.

    import llorch

    conversion = llorch.convert("model.gguf", "folder")      # safetensors, config.json, tokenizer, records
    report = llorch.verify("folder")                         # PASSED, or what differs and where
    model = llorch.load("folder")                            # or the .gguf file itself
    fetched = llorch.fetch("owner/repo:model.gguf", "models")
    with llorch.Registry("registry.db") as registry: ...     # which file became which folder

Importing this loads nothing else: each name brings its room when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names
from llorch.base.version import __version__

if TYPE_CHECKING:
    from llorch.converter import ConvertOptions, convert
    from llorch.registry import Registry
    from llorch.runtime import load
    from llorch.sources import fetch_source as fetch
    from llorch.verification import verify

__all__ = ["ConvertOptions", "Registry", "__version__", "convert", "fetch", "load", "verify"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "converter": ["ConvertOptions", "convert"],
        "registry": ["Registry"],
        "runtime": ["load"],
        "sources": {"fetch": "fetch_source"},
        "verification": ["verify"],
    },
)
