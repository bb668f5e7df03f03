"""What an output tensor is made of: rows of source tensors, one segment after the other."""

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
    (n, 1). scale: what all of its weights are multiplied by before anything else, if there is such a tensor.
    operation: on float32 rows; None copies. part: which bytes of its blocks go on as they are; None dequantizes.
    spread: where the result goes; None is one weight after the other.
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
        """Weights of one row."""
        return self.source.shape[-1] if len(self.source.shape) > 1 else 1

    @property
    def weights(self) -> int:
        """How many weights it holds."""
        return self.rows * self.columns

    def elements(self, weights: int) -> int:
        """Elements of the output that so many of its weights become: one each, or bytes of their blocks."""
        return weights if self.part is None else self.part.elements(weights)

    @property
    def unit_rows(self) -> int:
        """Rows that must stay together: pieces are multiples of it, as its first row and its number of rows are.

        For a source of rank 1 whose type has blocks, it is whole blocks too.
        """
        unit = self.operation.unit_rows if self.operation is not None else 1
        if len(self.source.shape) == 1:
            unit = math.lcm(unit, self.source.type.weights)
        if self.spread is not None:
            row = self.elements(self.columns)
            unit = math.lcm(unit, self.spread.run // math.gcd(self.spread.run, row))
        return unit

    def scaled(self, weights: Float32) -> Float32:
        """What the model's weights are, of some that were dequantized: one product in float32, or the same."""
        return weights if self.scale is None else self.scale.times(weights)


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor to be written, before the options and the weights decide its type.

    shape: as transformers has it; its weights are the segments' rows in order, each after its operation.
    dtype: the one that the family's table fixes, which no option changes; None for all others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    segments: tuple[Segment, ...]

    @property
    def weights(self) -> int:
        """How many weights it holds; of blocks that stay as they are, bytes."""
        return math.prod(self.shape)

    @property
    def operation(self) -> Operation | None:
        """The one that all of its segments have; None where they have none or several."""
        first = self.segments[0].operation
        return first if all(segment.operation == first for segment in self.segments) else None

    @property
    def part(self) -> BlockPart | None:
        """Which bytes of quantized blocks it holds as they are; None where it holds weights."""
        return self.segments[0].part

    @property
    def moves(self) -> bool:
        """Whether all of its weights are the source's, in another place at most."""
        return all(s.scale is None and (s.operation is None or s.operation.moves) for s in self.segments)

    def of(self, dtype: str) -> OutputTensor:
        """The tensor as it is written, in this type."""
        return OutputTensor(self.name, self.shape, dtype, self.segments)


@dataclass(frozen=True, slots=True)
class OutputTensor(PlannedTensor):
    """A tensor as it is written: its type is chosen, and its segments have their scales."""

    dtype: str
