"""Big-endian files: which tensor types can be converted to little-endian order, and how."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llorch.base.errors import UnsupportedInput
from llorch.formats.quants import QuantType

# ggml reads bytes of these blocks, or of the tables that they index, as wider words in the machine's order, so on a
# big-endian machine they differ in more than the order of the struct's fields, and how is documented nowhere.
# Source: ggml/src/ggml-quants.c, each `memcpy` into a uint32_t or cast of a grid to bytes in `dequantize_row_…`.
UNCLEAR = frozenset(
    {"Q3_K", "Q5_0", "Q5_1", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"}
)


def require_swappable(type: QuantType, where: str) -> None:
    """Raise UnsupportedInput for a type whose big-endian layout is not known field by field."""
    if type.name in UNCLEAR:
        raise UnsupportedInput(
            f"has the type {type.name} in a big-endian file; how its blocks are stored there is not known",
            where=where,
            hint="convert the file on the machine that wrote it",
        )


def swap_bytes(type: QuantType, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return whole blocks in the other byte order, in a new array; each field of a block is swapped by itself."""
    return raw.view(type.layout).byteswap().view(np.uint8)
