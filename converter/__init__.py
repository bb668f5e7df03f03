"""GGUF's words → transformers' words: a model file becomes a folder, exactly, with a record of how.

    conversion = converter.convert("model.gguf", "folder")
    conversion.weights                  # "weights1:…"
    conversion.to_json()                # what stands in folder/conversion.json

Nothing here runs a model, and nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llorch.converter.conversion import convert
    from llorch.converter.errors import NotEnoughSpace, NotTakenBack, OnlyVocabulary, TargetBusy, TargetExists
    from llorch.converter.provenance.record import Conversion
    from llorch.converter.tokenizer_only import TokenizerFolder, convert_tokenizer

__all__ = [
    "Conversion",
    "NotEnoughSpace",
    "NotTakenBack",
    "OnlyVocabulary",
    "TargetBusy",
    "TargetExists",
    "TokenizerFolder",
    "convert",
    "convert_tokenizer",
]

_HOMES = {
    "Conversion": "llorch.converter.provenance.record",
    "NotEnoughSpace": "llorch.converter.errors",
    "NotTakenBack": "llorch.converter.errors",
    "OnlyVocabulary": "llorch.converter.errors",
    "TargetBusy": "llorch.converter.errors",
    "TargetExists": "llorch.converter.errors",
    "TokenizerFolder": "llorch.converter.tokenizer_only",
    "convert": "llorch.converter.conversion",
    "convert_tokenizer": "llorch.converter.tokenizer_only",
}


def __getattr__(name: str) -> object:
    """A public name's object, from the module that it lives in; so that `import converter` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'converter' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
