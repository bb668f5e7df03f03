"""The table of ggml's tensor types: how many weights a block holds, in which bytes, and what they are worth.

One decorated function a type, in the file of its family. The layout *is* the size, so no second number can
disagree with it, and the function under it is the plain definition that everything faster is compared with. Below
stands the same in vector code: `compiled.dequantize_into` runs that, `numpy_kernels.dequantize_into` does without LLVM.
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

# What costs LLVM or another table loads when it is asked for.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "codebooks": ["E2M1_DOUBLED", "IQ4", "e8m0_halved", "grid", "ue4m3_halved"],
        "compiled": ["dequantize_into"],
        "kernel": ["step"],
    },
)
