"""Quantized blocks that a folder holds as they are: which of a block's bytes become which tensor, in what order.

Nothing is dequantized and nothing rounded, so every byte comes back. A tensor of n blocks becomes one tensor a part,
each with a row of `nbytes` bytes for every block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants import QuantType, by_name

Bytes = NDArray[np.uint8]
U8 = "U8"
"""What such tensors are written in, as safetensors spells it."""


@dataclass(frozen=True, slots=True)
class BlockPart:
    """One tensor of those that hold the blocks of a type.

    type: of ggml. suffix: after the target's name. first, nbytes: which bytes of a block. ends_row: whether they are a
    dimension of their own, after the blocks of a row. forward, backward: (n, nbytes) bytes of ggml's blocks → of the
    folder's, and back.
    """

    type: str
    suffix: str
    first: int
    nbytes: int
    ends_row: bool
    forward: Callable[[Bytes], Bytes]
    backward: Callable[[Bytes], Bytes]

    @property
    def name(self) -> str:
        """As conversion.json records it."""
        return f"{self.type.lower()}{self.suffix}"

    @property
    def quant(self) -> QuantType:
        """The type, with its sizes."""
        return by_name(self.type)

    def elements(self, weights: int) -> int:
        """How many of the tensor's bytes stand for so many weights, a multiple of a block's."""
        return weights // self.quant.weights * self.nbytes

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The tensor's shape, of weights that have `shape`: (2880, 2880) → (2880, 90, 16)."""
        blocks = (*shape[:-1], shape[-1] // self.quant.weights)
        return (*blocks, self.nbytes) if self.ends_row else blocks

    def of_blocks(self, raw: Bytes) -> Bytes:
        """Its bytes of whole blocks, as they lie in the file: (n, nbytes)."""
        return raw.reshape(-1, self.quant.block_bytes)[:, self.first : self.first + self.nbytes]


def codes_in_turns(halves: Bytes) -> Bytes:
    """ggml's 32 codes of four bits, whose byte j holds numbers j and j + 16 → byte j holds numbers 2j and 2j + 1.

    halves: (n, 16), the lower number in the low bits on both sides.
    Source: llama.cpp, conversion/gpt_oss.py, `transform_nibble_layout`, which is this one's inverse; transformers,
    integrations/mxfp4.py, `convert_moe_packed_tensors`, for what a folder's bytes mean.
    """
    codes = np.concatenate([halves & 15, halves >> 4], axis=1)
    turns: Bytes = codes[:, 0::2] | codes[:, 1::2] << 4
    return turns


def codes_in_halves(turns: Bytes) -> Bytes:
    """The inverse: numbers 2j and 2j + 1 of a byte → numbers j and j + 16 of one."""
    codes = np.stack([turns & 15, turns >> 4], axis=2).reshape(len(turns), -1)
    halves: Bytes = codes[:, :16] | codes[:, 16:] << 4
    return halves


def as_they_are(scales: Bytes) -> Bytes:
    """A scale is the exponent of two plus 127 on both sides."""
    return scales


MXFP4 = (
    BlockPart("MXFP4", "_blocks", 1, 16, True, codes_in_turns, codes_in_halves),
    BlockPart("MXFP4", "_scales", 0, 1, False, as_they_are, as_they_are),
)
