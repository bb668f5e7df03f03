"""MXFP4 experts of a folder: 4-bit codes, and a power of two as the scale of every 32 of them.

A code has a sign bit, two bits of exponent and one of mantissa; byte j of a block holds codes 2j (low bits) and
2j + 1. A scale is the exponent of two, plus 127.
Source: transformers, integrations/mxfp4.py, `FP4_VALUES` and `convert_moe_packed_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from llorch.runtime.from_folder.shapes import MXFP4_BLOCK
from llorch.runtime.from_folder.shards import OpenShards

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NUMBERS = torch.tensor([*MAGNITUDES, *(-number for number in MAGNITUDES)])
Rows = Callable[[int, int], Tensor]
"""Reads rows [start, stop) as float32."""


def mxfp4_rows(shards: OpenShards, blocks: str, scales: str) -> Rows:
    """Rows of n · 32 weights from blocks (…, rows, n, 16) and scales (…, rows, n)."""
    codes_of, exponents_of = shards.reader(blocks), shards.reader(scales)

    def read(start: int, stop: int) -> Tensor:
        exponents = exponents_of(start, stop)
        blocks_in_row = exponents.shape[-1]
        codes = codes_of(start * blocks_in_row, stop * blocks_in_row).int()
        pairs = torch.stack([NUMBERS[codes & 15], NUMBERS[codes >> 4]], dim=-1)
        powers = exponents.to(torch.int32).reshape(-1, 1) - 127
        return torch.ldexp(pairs.reshape(-1, MXFP4_BLOCK), powers).reshape(stop - start, -1)

    return read


def rows_from(rows: Rows, first: int) -> Rows:
    """The rows from `first` on."""
    return lambda start, stop: rows(first + start, first + stop)


def every_other(rows: Rows, first: int) -> Rows:
    """Every second row, from `first` on."""
    return lambda start, stop: rows(first + 2 * start, first + 2 * stop - 1)[::2]
