"""In which order a conversion reads and writes: the source's, once, from its first byte to its last.

A SHA-256 takes its bytes in order, and there is one of each source file, of each written file and of each
tensor in it. The weights are converted in the source's order, so the first kind is fed as they pass. So are
the others where the written order is the source's, which `written_order` makes it wherever it can. A tensor
whose rows come from several places is not finished in order: it is read back when its turn comes, from memory
as a rule, because it was written a moment before. So is a tensor that a crashed run had finished.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.converter.plan.segments import OutputTensor, PlannedTensor, Segment
from llorch.formats import BITS, SafetensorsTensor
from llorch.formats.gguf import Header

Region = NDArray[Any]
Bytes = NDArray[np.uint8]

PIECE_WEIGHTS = 1 << 20  # so that a piece is still in the cache when it is hashed and written


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """An output tensor and where its bytes go."""

    output: OutputTensor
    stored: SafetensorsTensor


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the weights of a segment, whole units of what must stay together.

    part, start, nbytes: the source bytes. first, weights: of the source tensor, counted in weights.
    at: where they go in the output tensor, counted in its elements, which are weights or bytes of blocks; where they
    are spread, the region of `extent` elements that they share with others begins there.
    row: of a band, weights of a whole row of the source, of which it has some columns from `first` on; else 0.
    """

    segment: Segment
    part: int
    start: int
    nbytes: int
    first: int
    weights: int
    at: int
    row: int = 0

    def weight_at(self, index: int) -> int:
        """Which weight of the source tensor is the slice's number `index`."""
        if not self.row:
            return self.first + index
        row, column = divmod(index, self.segment.columns)
        return self.first + row * self.row + column

    @property
    def elements(self) -> int:
        """How many elements of the output they are."""
        return self.segment.elements(self.weights)

    @property
    def extent(self) -> int:
        """Elements of the output from `at` on that these are among."""
        spread = self.segment.spread
        return self.elements * (1 if spread is None else spread.step)

    def places(self, region: Region) -> Region:
        """Of the output's elements from `at` on, a view of those that are these."""
        spread = self.segment.spread
        if spread is None:
            return region
        return region.reshape(-1, spread.step, spread.run)[:, spread.offset]


@dataclass(frozen=True, slots=True)
class BytesToHash:
    """Source bytes that are read for the digest only: header, padding, tensors that are not converted now."""

    part: int
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class SliceToConvert:
    """Weights that are read, converted and written.

    fed: the digests of what is written take them as they pass. first: nothing before it has read these bytes, which the
    source's digest takes once.
    """

    placed: PlacedTensor
    slice: Slice
    fed: bool
    first: bool = True


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Written bytes of a finished tensor, for its digests."""

    placed: PlacedTensor
    start: int
    nbytes: int


Piece = BytesToHash | SliceToConvert | ReadBack


def written_order(outputs: Sequence[OutputTensor]) -> list[OutputTensor]:
    """The order in the written files: in which the source finishes them."""
    return sorted(outputs, key=lambda output: max(source_range(s)[::2] for s in output.segments))


def element_bytes(output: OutputTensor) -> int:
    """Bytes of one weight of it; its dtype is chosen by now."""
    return BITS[str(output.dtype)] // 8


def source_range(segment: Segment) -> tuple[int, int, int]:
    """Part, first byte and the byte after the last of a segment."""
    tensor, quant = segment.source, segment.source.type
    start = tensor.offset + segment.first * segment.columns // quant.weights * quant.block_bytes
    return tensor.part, start, start + segment.weights // quant.weights * quant.block_bytes


def slice_weights(segment: Segment, most: int = PIECE_WEIGHTS) -> int:
    """Weights of a segment's slices: whole blocks or, where rows belong together, whole units of them."""
    whole_rows = segment.operation is not None or segment.spread is not None
    unit = segment.unit_rows * segment.columns if whole_rows else segment.source.type.weights
    return min(max(most // unit, 1) * unit, segment.weights)


def slices(output: PlannedTensor, index: int, most: int = PIECE_WEIGHTS) -> Iterator[Slice]:
    """The slices of one segment of an output, in the order of its rows."""
    segment = output.segments[index]
    quant = segment.source.type
    part, start, _ = source_range(segment)
    shared = 0 if segment.spread is None else segment.spread.offset
    before = sum(s.elements(s.weights) for s in output.segments[: index - shared])
    step = slice_weights(segment, most)
    for at in range(0, segment.weights, step):
        weights = min(step, segment.weights - at)
        offset, nbytes = (n // quant.weights * quant.block_bytes for n in (at, weights))
        place = before + segment.elements(at) * (1 if segment.spread is None else segment.spread.step)
        yield Slice(
            segment, part, start + offset, nbytes, segment.first * segment.columns + at, weights, place
        )


def has_bands(segment: Segment, most: int = PIECE_WEIGHTS) -> bool:
    """Whether a slice of a segment is one unit that is too large to be converted at once, and can be done in bands."""
    operation, spread = segment.operation, segment.spread
    if operation is None or not operation.kind.bands or segment.unit_rows * segment.columns <= most:
        return False
    whole_runs = spread is None or segment.unit_rows % spread.run == 0
    return whole_runs and segment.unit_rows == operation.unit_rows and len(segment.source.shape) > 1


def band_weights(segment: Segment, most: int = PIECE_WEIGHTS) -> int:
    """Weights that are converted at once: those of a slice, or of a band of it, whole blocks of every row."""
    if not has_bands(segment, most):
        return slice_weights(segment, most)
    blocks = segment.source.type.weights
    return segment.unit_rows * min(max(most // segment.unit_rows // blocks, 1) * blocks, segment.columns)


def bands(piece: Slice, raw: Bytes, most: int = PIECE_WEIGHTS) -> Iterator[tuple[Slice, Bytes]]:
    """A slice and its source bytes; band by band, some columns of all rows each, where it is too large at once.

    A band is a slice like any other: of a tensor that has its columns alone, to its own place in the output.
    """
    segment, operation = piece.segment, piece.segment.operation
    if operation is None or not has_bands(segment, most):
        yield piece, raw
        return
    rows, quant = segment.unit_rows, segment.source.type
    step, by_row = 1 if segment.spread is None else segment.spread.step, raw.reshape(rows, -1)
    width = band_weights(segment, most) // rows
    for first in range(0, segment.columns, width):
        columns = min(width, segment.columns - first)
        begin, end = (n // quant.weights * quant.block_bytes for n in (first, first + columns))
        narrow = replace(
            segment,
            source=replace(segment.source, shape=(rows, columns)),
            first=0,
            rows=rows,
            operation=operation.of_columns(columns),
        )
        band = replace(
            piece,
            segment=narrow,
            first=piece.first + first,
            weights=rows * columns,
            at=piece.at + first * rows * step,
            row=segment.columns,
        )
        yield band, np.ascontiguousarray(by_row[:, begin:end]).reshape(-1)


def schedule(
    header: Header, placed: Sequence[PlacedTensor], finished: Collection[str] = (), most: int = PIECE_WEIGHTS
) -> Iterator[Piece]:
    """All pieces, in an order in which every digest gets its bytes in order.

    placed: in the order of the written files and the places in them. finished: outputs whose bytes are there.
    """
    segments = sorted(
        (source_range(segment), number, index)
        for number, tensor in enumerate(placed)
        for index, segment in enumerate(tensor.output.segments)
    )
    turns = _Turns(placed, finished, [number for _, number, _ in segments], most)
    yield from turns.read_back(most)
    for part, group in itertools.groupby(segments, key=lambda row: row[0][0]):
        done = 0
        for (_, start, stop), number, index in group:
            if placed[number].output.name in finished:
                continue
            yield from _pass_over(part, done, start, most)
            fed, first = turns.begin(number), stop > done  # another part of the same blocks has read them
            for piece in slices(placed[number].output, index, most):
                yield SliceToConvert(placed[number], piece, fed, first)
            done = stop
            turns.end(number)
            yield from turns.read_back(most)
        yield from _pass_over(part, done, header.parts[part].identity.size, most)
    for part in set(range(len(header.parts))).difference(row[0][0] for row in segments):
        yield from _pass_over(part, 0, header.parts[part].identity.size, most)


class _Turns:
    """Whose turn it is in each written file: its digest takes the tensors in their order."""

    def __init__(
        self, placed: Sequence[PlacedTensor], finished: Collection[str], visits: Sequence[int], most: int
    ) -> None:
        self._placed = placed
        self._missing = [
            0 if tensor.output.name in finished else len(tensor.output.segments) for tensor in placed
        ]
        self._in_order = _in_order(placed, visits, most)
        self._fed: set[int] = set()
        self._queues: list[list[int]] = [[] for _ in range(1 + max(tensor.stored.part for tensor in placed))]
        for number in reversed(range(len(placed))):
            self._queues[placed[number].stored.part].append(number)
        self._queue_of = {number: queue for queue in self._queues for number in queue}

    def begin(self, number: int) -> bool:
        """Whether the tensor's digests take its pieces as they pass; decided by the first segment."""
        queue = self._queue_of[number]
        if number in self._in_order and queue[-1] == number:
            self._fed.add(number)
        return number in self._fed

    def end(self, number: int) -> None:
        """A segment of the tensor is written."""
        self._missing[number] -= 1

    def read_back(self, most: int) -> Iterator[ReadBack]:
        """What is finished, was not fed, and has its turn now."""
        for queue in self._queues:
            while queue and not self._missing[queue[-1]]:
                number = queue.pop()
                if number not in self._fed:
                    nbytes, step = self._placed[number].stored.nbytes, most * 4
                    for start in range(0, nbytes, step):
                        yield ReadBack(self._placed[number], start, min(step, nbytes - start))


def _in_order(placed: Sequence[PlacedTensor], visits: Sequence[int], most: int) -> set[int]:
    """The tensors whose segments lie in the source in the order of their rows, and are visited in one go.

    Visited in one go: else another tensor of the file might get its turn in between. None that is done in bands, whose
    memory is that of the band before.
    """
    runs = Counter(number for number, _ in itertools.groupby(visits))
    return {
        number
        for number, tensor in enumerate(placed)
        if runs[number] == 1
        and all(s.spread is None and not has_bands(s, most) for s in tensor.output.segments)
        and list(tensor.output.segments) == sorted(tensor.output.segments, key=source_range)
    }


def _pass_over(part: int, start: int, stop: int, most: int) -> Iterator[BytesToHash]:
    step = most * 4
    for at in range(start, stop, step):
        yield BytesToHash(part, at, min(step, stop - at))
