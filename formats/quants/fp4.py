"""Types of four-bit floats (E2M1) with one-byte scales.

Both formulas are those of ggml/src/ggml-quants.c, `dequantize_row_…`, and the layouts those of ggml-common.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants.bits import bit_groups, column, floats
from llorch.formats.quants.codebooks import E2M1_DOUBLED, e8m0_halved, ue4m3_halved
from llorch.formats.quants.types import Blocks, quant_type, vector_code

if TYPE_CHECKING:
    from llorch.formats.vector_code.vectors import Block, CodedWeights, Value


@quant_type("MXFP4", id=39, weights=32, e="u1", qs=("u1", 16))
def mxfp4(b: Blocks) -> NDArray[np.float32]:
    """w = E8M0[e] / 2 · 2 E2M1[q]; low nibbles are weights 0–15, high nibbles 16–31.

    The largest scale makes weights infinite. Source: dequantize_row_mxfp4.
    """
    scale = e8m0_halved()[b["e"]]
    return column(scale) * floats(E2M1_DOUBLED[bit_groups(b["qs"], 4)]).reshape(-1, 32)


@vector_code("MXFP4")
def _mxfp4(b: Block) -> Iterator[CodedWeights]:
    scale, qs = b.row(e8m0_halved(), b.numbers("e")), b.numbers("qs", 0, 16)
    b.declare_bound(scale * 12.0)
    yield b.coded((qs & 15).concat(qs >> 4), lambda q: scale * q.look_up(E2M1_DOUBLED).signed_floats())


@quant_type("NVFP4", id=40, weights=64, d=("u1", 4), qs=("u1", 32))
def nvfp4(b: Blocks) -> NDArray[np.float32]:
    """w = UE4M3[d] / 2 · 2 E2M1[q], groups of 16: low nibbles of 8 bytes, then their high ones.

    A tensor X.weight of this type may have a float32 tensor X.scale beside it (one number, or one per expert), by which
    its weights are to be multiplied. Source: dequantize_row_nvfp4.
    """
    scale = floats(ue4m3_halved()[b["d"]])
    rows = floats(E2M1_DOUBLED[bit_groups(b["qs"].reshape(-1, 4, 8), 4)]).reshape(-1, 4, 16)
    return (scale[:, :, None] * rows).reshape(-1, 64)


@vector_code("NVFP4")
def _nvfp4(b: Block) -> Iterator[Value]:
    for group in range(4):
        scale, qs = b.row(ue4m3_halved(), b.numbers("d", group)), b.numbers("qs", 8 * group, 8)
        rows = (qs & 15).concat(qs >> 4).look_up(E2M1_DOUBLED)
        yield scale * rows.signed_floats()
