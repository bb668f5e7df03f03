"""Planned output tensors: each a sequence of segments, which are rows of source tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llorch.converter.plan.dtype import Float32
from llorch.converter.plan.weight_scales import Scale
from llorch.converter.schema.architecture import Spread
from llorch.converter.schema.block_parts import BlockPart
from llorch.converter.schema.operations import Operation
from llorch.formats.gguf import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive rows of one source tensor, in its row view.

    The row view of a tensor of rank ≥ 2 is (product of all extents but the last, last extent), of rank 1
    (n, 1). scale: factor of all its weights, applied first, if there is one.
    operation: on float32 rows; None copies. part: which bytes of its blocks are kept as they are; None dequantizes.
    spread: where the result goes; None means contiguously.
    """

    source: Tensor
    first: int
    rows: int
    scale: Scale | None = None
    operation: Operation | None = None
    part: BlockPart | None = None
    spread: Spread | None = None

    @property
    def columns(self) -> int:
        """Weights per row."""
        return self.source.shape[-1] if len(self.source.shape) > 1 else 1

    @property
    def weights(self) -> int:
        """The number of its weights."""
        return self.rows * self.columns

    def elements(self, weights: int) -> int:
        """Return how many output elements `weights` of its weights become: as many, or the bytes of their blocks."""
        return weights if self.part is None else self.part.elements(weights)

    @property
    def unit_rows(self) -> int:
        """Rows that must stay together: its first row, its number of rows, and every piece of it are multiples.

        For a source of rank 1 whose type has blocks, a unit also consists of whole blocks.
        """
        unit = self.operation.unit_rows if self.operation is not None else 1
        if len(self.source.shape) == 1:
            unit = math.lcm(unit, self.source.type.weights)
        if self.spread is not None:
            row = self.elements(self.columns)
            unit = math.lcm(unit, self.spread.run // math.gcd(self.spread.run, row))
        return unit

    def apply_scale(self, weights: Float32) -> Float32:
        """Multiply dequantized weights by the scale in float32; without a scale, return them as they are."""
        return weights if self.scale is None else self.scale.times(weights)


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor to be written, before the options and the weights determine its dtype.

    shape: as in transformers; the weights are the segments' rows in order, each after its operation.
    dtype: fixed by the family's table, whatever the options are; None for all others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    segments: tuple[Segment, ...]

    @property
    def weights(self) -> int:
        """The number of its weights; for blocks that are kept as they are, of bytes."""
        return math.prod(self.shape)

    @property
    def operation(self) -> Operation | None:
        """The operation that all of its segments have; None if they have none or different ones."""
        first = self.segments[0].operation
        return first if all(segment.operation == first for segment in self.segments) else None

    @property
    def part(self) -> BlockPart | None:
        """Which bytes of quantized blocks it holds; None if it holds weights."""
        return self.segments[0].part

    @property
    def moves(self) -> bool:
        """Whether all of its weights are the source's, only moved or copied."""
        return all(s.scale is None and (s.operation is None or s.operation.moves) for s in self.segments)

    def with_dtype(self, dtype: str) -> OutputTensor:
        """Return the output tensor with this dtype."""
        return OutputTensor(self.name, self.shape, dtype, self.segments)


@dataclass(frozen=True, slots=True)
class OutputTensor(PlannedTensor):
    """A tensor as it is written: its dtype is chosen, and the scales of its segments are read."""

    dtype: str
