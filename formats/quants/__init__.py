"""ggml's tensor types: block layouts and dequantization.

Each type is one decorated function in the file of its family. Its layout gives the block size, so no second number
can disagree, and its body is the plain NumPy definition that every faster form is tested against. Below it stands the
same in vector code, which `compiled.dequantize_into` runs; `numpy_kernels.dequantize_into` works without LLVM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names
from llorch.formats.quants import fp4, iq, k, legacy, plain, ternary  # noqa: F401 each enters its types in the table
from llorch.formats.quants.types import BY_ID, REMOVED, QuantType, by_id, by_name, decode

if TYPE_CHECKING:
    from llorch.formats.quants.codebooks import E2M1_DOUBLED, IQ4, e8m0_halved, grid, ue4m3_halved
    from llorch.formats.quants.compiled import dequantize_into
    from llorch.formats.quants.kernel import step

__all__ = [
    "BY_ID",
    "E2M1_DOUBLED",
    "IQ4",
    "REMOVED",
    "QuantType",
    "by_id",
    "by_name",
    "decode",
    "dequantize_into",
    "e8m0_halved",
    "grid",
    "step",
    "ue4m3_halved",
]

# Lazy, because these import LLVM or gguf-py's tables.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "codebooks": ["E2M1_DOUBLED", "IQ4", "e8m0_halved", "grid", "ue4m3_halved"],
        "compiled": ["dequantize_into"],
        "kernel": ["step"],
    },
)
