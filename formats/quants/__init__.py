"""The table of ggml's tensor types: how many weights a block holds, in which bytes, and what they are worth.

One decorated function a type, in the file of its family. The layout *is* the size, so no second number can
disagree with it, and the function under it is the plain definition that everything faster is compared with. Below
stands the same in vector code: `compiled.dequantize_into` runs that, `numpy_kernels.dequantize_into` does without LLVM.
"""

from llorch.formats.quants import fp4, iq, k, legacy, plain, ternary  # noqa: F401 each enters its types in the table
from llorch.formats.quants.types import BY_ID, REMOVED, QuantType, by_id, by_name, decode

__all__ = ["BY_ID", "REMOVED", "QuantType", "by_id", "by_name", "decode"]
