"""Measurements of a quantization: types, block scales, errors against the original weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.converter.quantization.error import (
        ReferenceComparison,
        compare_with_reference,
        read_reference,
    )

__all__ = [
    "ReferenceComparison",
    "compare_with_reference",
    "read_reference",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "error": ["ReferenceComparison", "compare_with_reference", "read_reference"],
    },
)
