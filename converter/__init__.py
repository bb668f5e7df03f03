"""Conversion of a GGUF file to a transformers folder, exactly, with a record of how.

    conversion = converter.convert("model.gguf", "folder")
    conversion.weights                  # "weights1:…"
    conversion.to_json()                # the content of folder/conversion.json

Nothing here runs a model, and modules are imported only when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.converter.conversion import convert
    from llorch.converter.errors import (
        NotEnoughSpace,
        OnlyVocabulary,
        RoundTripError,
        TargetBusy,
        TargetExists,
    )
    from llorch.converter.options import DTYPE_ALIASES, ConvertOptions, parse_size
    from llorch.converter.plan.settings import parse_setting
    from llorch.converter.provenance.record import Conversion
    from llorch.converter.provenance.source_signature import SourceSignature, read_source_signature
    from llorch.converter.round_trip import round_trip_differences
    from llorch.converter.tokenizer_only import TokenizerFolder, convert_tokenizer
    from llorch.converter.write.target import discard_unfinished

__all__ = [
    "DTYPE_ALIASES",
    "Conversion",
    "ConvertOptions",
    "NotEnoughSpace",
    "OnlyVocabulary",
    "RoundTripError",
    "SourceSignature",
    "TargetBusy",
    "TargetExists",
    "TokenizerFolder",
    "convert",
    "convert_tokenizer",
    "discard_unfinished",
    "parse_setting",
    "parse_size",
    "read_source_signature",
    "round_trip_differences",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "conversion": ["convert"],
        "errors": ["NotEnoughSpace", "OnlyVocabulary", "RoundTripError", "TargetBusy", "TargetExists"],
        "options": ["ConvertOptions", "DTYPE_ALIASES", "parse_size"],
        "plan.settings": ["parse_setting"],
        "provenance.record": ["Conversion"],
        "provenance.source_signature": ["SourceSignature", "read_source_signature"],
        "round_trip": ["round_trip_differences"],
        "tokenizer_only": ["TokenizerFolder", "convert_tokenizer"],
        "write.target": ["discard_unfinished"],
    },
)
