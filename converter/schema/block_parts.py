"""Quantized blocks that a folder keeps as they are: which bytes of a block go to which tensor, in what order.

Nothing is dequantized or rounded, so every byte converts back. A tensor of n blocks becomes one tensor per part, with
`nbytes` bytes for every block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llorch.formats.quants import QuantType, by_name

Bytes = NDArray[np.uint8]
U8 = "U8"
"""The dtype of such tensors, as safetensors spells it."""


@dataclass(frozen=True, slots=True)
class BlockPart:
    """One of the tensors that hold the blocks of a type.

    type: in ggml. suffix: of the target's name. first, nbytes: which bytes of a block. ends_row: whether they are a
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
        """Its name, as in conversion.json."""
        return f"{self.type.lower()}{self.suffix}"

    @property
    def quant(self) -> QuantType:
        """The type."""
        return by_name(self.type)

    def elements(self, weights: int) -> int:
        """Return the number of the tensor's bytes for `weights` weights, which are whole blocks."""
        return weights // self.quant.weights * self.nbytes

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the tensor's shape for weights of `shape`: (2880, 2880) → (2880, 90, 16)."""
        blocks = (*shape[:-1], shape[-1] // self.quant.weights)
        return (*blocks, self.nbytes) if self.ends_row else blocks

    def of_blocks(self, raw: Bytes) -> Bytes:
        """Return this part's bytes of whole blocks, as they are in the file: (n, nbytes)."""
        return raw.reshape(-1, self.quant.block_bytes)[:, self.first : self.first + self.nbytes]


def codes_in_turns(halves: Bytes) -> Bytes:
    """ggml's 32 four-bit codes, where byte j holds numbers j and j + 16 → byte j holds numbers 2j and 2j + 1.

    halves: (n, 16), the lower number in the low bits on both sides.
    Source: llama.cpp, conversion/gpt_oss.py, `transform_nibble_layout`, which is this one's inverse; transformers,
    integrations/mxfp4.py, `convert_moe_packed_tensors`, for what a folder's bytes mean.
    """
    codes = np.concatenate([halves & 15, halves >> 4], axis=1)
    turns: Bytes = codes[:, 0::2] | codes[:, 1::2] << 4
    return turns


def codes_in_halves(turns: Bytes) -> Bytes:
    """The inverse: byte j holds numbers 2j and 2j + 1 → byte j holds numbers j and j + 16."""
    codes = np.stack([turns & 15, turns >> 4], axis=2).reshape(len(turns), -1)
    halves: Bytes = codes[:, :16] | codes[:, 16:] << 4
    return halves


def as_they_are(scales: Bytes) -> Bytes:
    """Return the scales unchanged: on both sides they are the exponent of two plus 127."""
    return scales


MXFP4 = (
    BlockPart("MXFP4", "_blocks", 1, 16, True, codes_in_turns, codes_in_halves),
    BlockPart("MXFP4", "_scales", 0, 1, False, as_they_are, as_they_are),
)
