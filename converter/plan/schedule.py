"""The order in which a conversion reads and writes: the source once, from its first byte to its last.

SHA-256 takes bytes in order, and there is a digest for each source file, each written file and each tensor in it.
Weights are converted in the source's order, so the source's digests are fed on the way. The other digests are, too,
if the written order is the source's order, which `written_order` arranges wherever it can. A tensor whose rows come
from several places is not written in order: it is read back when it is its turn, usually from the page cache,
since it was just written. So is a tensor that a crashed run had finished.
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

PIECE_WEIGHTS = 1 << 20  # so that a piece is still in the CPU's cache when it is hashed and written


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """An output tensor and its place in the written files."""

    output: OutputTensor
    stored: SafetensorsTensor


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the weights of a segment, in whole units of rows that must stay together.

    part, start, nbytes: the source bytes. first, weights: of the source tensor, in weights.
    at: its place in the output tensor, in elements (weights, or bytes of blocks); if the segment is spread, the
    beginning of the region of `extent` elements that it shares with other sources.
    row: 0, or of a band, the weights of a whole source row, of which the band has the columns from `first` on.
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
        """Return which weight of the source tensor is number `index` of the slice."""
        if not self.row:
            return self.first + index
        row, column = divmod(index, self.segment.columns)
        return self.first + row * self.row + column

    @property
    def elements(self) -> int:
        """The number of output elements that it becomes."""
        return self.segment.elements(self.weights)

    @property
    def extent(self) -> int:
        """The number of output elements, from `at` on, that its elements are spread over."""
        spread = self.segment.spread
        return self.elements * (1 if spread is None else spread.step)

    def places(self, region: Region) -> Region:
        """Return a view of the slice's own elements in the region of output elements from `at` on."""
        spread = self.segment.spread
        if spread is None:
            return region
        return region.reshape(-1, spread.step, spread.run)[:, spread.offset]


@dataclass(frozen=True, slots=True)
class BytesToHash:
    """Source bytes that are read only for the digest: header, padding, tensors that are not converted now."""

    part: int
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class SliceToConvert:
    """Weights to read, convert and write.

    feeds_digests: whether the written digests take them now. first: whether nothing before has read these source bytes,
    which the source's digest takes once.
    """

    placed: PlacedTensor
    slice: Slice
    feeds_digests: bool
    first: bool = True


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Written bytes of a finished tensor, to read back for its digests."""

    placed: PlacedTensor
    start: int
    nbytes: int


Piece = BytesToHash | SliceToConvert | ReadBack


def written_order(outputs: Sequence[OutputTensor]) -> list[OutputTensor]:
    """Return the outputs in the order in which the source's bytes complete them, which is their order in the files."""
    return sorted(outputs, key=lambda output: max(source_range(s)[::2] for s in output.segments))


def element_bytes(output: OutputTensor) -> int:
    """Return the bytes per element of an output."""
    return BITS[str(output.dtype)] // 8


def source_range(segment: Segment) -> tuple[int, int, int]:
    """Return a segment's file number, the offset of its first byte, and the offset after its last."""
    tensor, quant = segment.source, segment.source.type
    start = tensor.offset + segment.first * segment.columns // quant.weights * quant.block_bytes
    return tensor.part, start, start + segment.weights // quant.weights * quant.block_bytes


def slice_weights(segment: Segment, most: int = PIECE_WEIGHTS) -> int:
    """Return the weights per slice of a segment: whole blocks, or if rows must stay together, whole units of rows."""
    whole_rows = segment.operation is not None or segment.spread is not None
    unit = segment.unit_rows * segment.columns if whole_rows else segment.source.type.weights
    return min(max(most // unit, 1) * unit, segment.weights)


def slices(output: PlannedTensor, index: int, most: int = PIECE_WEIGHTS) -> Iterator[Slice]:
    """Yield the slices of one segment of an output, in the order of its rows."""
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
    """Return whether one unit of a segment exceeds `most` weights but can be converted in bands of columns."""
    operation, spread = segment.operation, segment.spread
    if operation is None or not operation.kind.bands or segment.unit_rows * segment.columns <= most:
        return False
    whole_runs = spread is None or segment.unit_rows % spread.run == 0
    return whole_runs and segment.unit_rows == operation.unit_rows and len(segment.source.shape) > 1


def band_weights(segment: Segment, most: int = PIECE_WEIGHTS) -> int:
    """Return the weights converted at a time: of a slice, or of a band of it with whole blocks of every row."""
    if not has_bands(segment, most):
        return slice_weights(segment, most)
    blocks = segment.source.type.weights
    return segment.unit_rows * min(max(most // segment.unit_rows // blocks, 1) * blocks, segment.columns)


def bands(piece: Slice, raw: Bytes, most: int = PIECE_WEIGHTS) -> Iterator[tuple[Slice, Bytes]]:
    """Yield a slice and its source bytes; if it is too large to convert at once, bands of some columns of all its rows.

    A band is itself a slice: of a tensor with only its columns, with its own place in the output.
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
    """Yield all pieces, in an order in which every digest gets its bytes in order.

    placed: in the order of the written files. finished: outputs that are already written.
    """
    segments = sorted(
        (source_range(segment), number, index)
        for number, tensor in enumerate(placed)
        for index, segment in enumerate(tensor.output.segments)
    )
    queues = _DigestQueues(placed, finished, [number for _, number, _ in segments], most)
    yield from queues.read_back(most)
    for part, group in itertools.groupby(segments, key=lambda row: row[0][0]):
        done = 0
        for (_, start, stop), number, index in group:
            if placed[number].output.name in finished:
                continue
            yield from _hash_only(part, done, start, most)
            feeds_digests = queues.begin(number)
            first = stop > done  # else another part of the same blocks read them
            for piece in slices(placed[number].output, index, most):
                yield SliceToConvert(placed[number], piece, feeds_digests, first)
            done = stop
            queues.end(number)
            yield from queues.read_back(most)
        yield from _hash_only(part, done, header.parts[part].identity.size, most)
    for part in set(range(len(header.parts))).difference(row[0][0] for row in segments):
        yield from _hash_only(part, 0, header.parts[part].identity.size, most)


class _DigestQueues:
    """Which tensor each written file's digest takes next: it takes the tensors in their order in the file."""

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
        """Return whether the tensor's digests take its pieces as they are converted; decided at its first segment."""
        queue = self._queue_of[number]
        if number in self._in_order and queue[-1] == number:
            self._fed.add(number)
        return number in self._fed

    def end(self, number: int) -> None:
        """Note that a segment of the tensor is written."""
        self._missing[number] -= 1

    def read_back(self, most: int) -> Iterator[ReadBack]:
        """Yield the tensors that are finished, were not fed, and are next in their file."""
        for queue in self._queues:
            while queue and not self._missing[queue[-1]]:
                number = queue.pop()
                if number not in self._fed:
                    nbytes, step = self._placed[number].stored.nbytes, most * 4
                    for start in range(0, nbytes, step):
                        yield ReadBack(self._placed[number], start, min(step, nbytes - start))


def _in_order(placed: Sequence[PlacedTensor], visits: Sequence[int], most: int) -> set[int]:
    """Return the tensors whose segments are in the source in the order of their rows, and are converted in one go.

    In one go, because else another tensor of the file might be next in between. Tensors converted in bands are
    excluded, since a band reuses the memory of the one before.
    """
    runs = Counter(number for number, _ in itertools.groupby(visits))
    return {
        number
        for number, tensor in enumerate(placed)
        if runs[number] == 1
        and all(s.spread is None and not has_bands(s, most) for s in tensor.output.segments)
        and list(tensor.output.segments) == sorted(tensor.output.segments, key=source_range)
    }


def _hash_only(part: int, start: int, stop: int, most: int) -> Iterator[BytesToHash]:
    step = most * 4
    for at in range(start, stop, step):
        yield BytesToHash(part, at, min(step, stop - at))
