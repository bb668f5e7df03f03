"""The codebooks of the IQ and FP4 types: the values that an index stands for."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

# kvalues_iq4nl in ggml/src/ggml-common.h: finer near zero, where most weights are.
IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)

# The values of E2M1, the four-bit float of OCP's Microscaling Formats 1.0, doubled so that they are integers.
# Its −0 is a +0: kvalues_mxfp4 in ggml/src/ggml-common.h has integers.
E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)


@cache
def grid(name: str) -> NDArray[np.int8]:
    """Return the codebook of a type: int8 rows (256 to 2048, 8), or (256 or 512, 4) for IQ3.

    name: "IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS" or "IQ3_S". The tables are gguf-py's.
    """
    from gguf import quants  # takes 0.1 s, and only files with these types need it

    table = getattr(quants, name)
    table.init_grid()
    rows: NDArray[np.int8] = table.grid.reshape(table.grid_shape).astype(np.int8)
    rows.flags.writeable = False
    return rows


def e8m0_halved() -> NDArray[np.float32]:
    """Return half the value of each of the 256 bytes as E8M0, a power of two: 2^(e − 128), the first two subnormal.

    Byte 255 is 2^127 rather than a NaN, as in ggml_e8m0_to_fp32_half of ggml/src/ggml-impl.h.
    """
    halved: NDArray[np.float32] = np.ldexp(1.0, np.arange(256) - 128).astype(np.float32)
    return halved


def ue4m3_halved() -> NDArray[np.float32]:
    """Return half the value of each of the 256 bytes as E4M3 without its sign; 0x7F, a NaN, is 0.

    Source: ggml_ue4m3_to_fp32 in ggml/src/ggml-impl.h, which leaves 0xFF a number, 480 / 2.
    """
    exponent, mantissa = np.arange(256) >> 3 & 15, np.arange(256) & 7
    normal = np.ldexp(8.0 + mantissa, exponent - 11)
    subnormal = np.ldexp(1.0 * mantissa, -10)
    values: NDArray[np.float32] = np.where(exponent == 0, subnormal, normal).astype(np.float32)
    values[0x7F] = 0
    return values
