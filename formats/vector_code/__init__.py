"""Vector kernels in LLVM IR, written as Python expressions, compiled for this processor and cached on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.vector_code.jit_cache import Code, Target, machine_code, this_machine
    from llorch.formats.vector_code.vectors import BYTE, FLOAT, INDEX, WORD, Block, CodedWeights, Has, Value

__all__ = [
    "BYTE",
    "FLOAT",
    "INDEX",
    "WORD",
    "Block",
    "Code",
    "CodedWeights",
    "Has",
    "Target",
    "Value",
    "machine_code",
    "this_machine",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jit_cache": ["Code", "Target", "machine_code", "this_machine"],
        "vectors": ["BYTE", "Block", "CodedWeights", "FLOAT", "Has", "INDEX", "Value", "WORD"],
    },
)
