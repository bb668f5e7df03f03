"""Whether a conversion can be taken back: what was written, through the inverses, is the source again.

Twice: for every piece of weights that an operation changed, in memory before it is written, and for a
finished folder, whose files are read for it (`compare`). What was moved or copied must be the source rounded
once, bit for bit; what was calculated with must be as near as the rounding of the written type allows. A weight with a
scale beside it is their product in float32, which is taken forward again: dividing would not give back every bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.converter.errors import RoundTripError
from llorch.converter.plan.dtype import DType, Float32, Written, rounding_error, widen
from llorch.converter.plan.schedule import PIECE_WEIGHTS, Slice, bands, slices
from llorch.converter.plan.segments import PlannedTensor
from llorch.converter.plan.tensors import with_scales
from llorch.converter.schema.block_parts import U8, BlockPart, Bytes
from llorch.converter.schema.operations import Operation
from llorch.formats import SafetensorsModel, SafetensorsTensor, read_safetensors
from llorch.formats.gguf import Header, TensorData
from llorch.formats.quants import decode, numpy_kernels

SAMPLED_WEIGHTS = 1 << 18  # of a slice where a tensor is sampled: small, so that there are several of them
LEAST_WEIGHTS = 1 << 12  # of a slice, however small the sample is
PLAIN_WEIGHTS = 1 << 14  # at a tensor's beginning, of which compiled and plain definitions must say the same


@dataclass(frozen=True, slots=True)
class Difference:
    """How one written tensor, taken back, differs from the source.

    weights: of the tensor. compared: how many of them were. differing: weights further from the source than allowed.
    worst: the largest distance of those that differ, or where none does of any; 0 where all bits are those of the
    source rounded once. source, index: where that is, counted in weights of the source tensor.
    """

    name: str
    dtype: str
    weights: int
    compared: int
    differing: int
    worst: float
    source: str
    index: int
    operation: str | None


def require_round_trip(
    name: str, operation: Operation, before: Written, written: Written, dtype: str
) -> None:
    """NotTakenBack unless `written`, taken back, is `before`.

    before: what the operation was given: float32, or already rounded to `dtype` if it only moves.
    """
    if operation.moves and before.dtype == written.dtype:
        back, bits = operation.backward(written), f"<u{written.dtype.itemsize}"
        differing = np.count_nonzero(back.reshape(-1).view(bits) != before.reshape(-1).view(bits))
    else:
        differing = np.count_nonzero(_distances(operation, before, written, dtype)[1])
    if differing:
        raise RoundTripError(f"{name}: the inverse of {operation} does not give back {differing} weights")


def require_blocks_back(name: str, part: BlockPart, before: Bytes, written: Bytes) -> None:
    """RoundTripError unless the bytes of blocks that were written, (n, nbytes), are those of the source again."""
    differing = np.count_nonzero(part.backward(written) != before)
    if differing:
        raise RoundTripError(f"{name}: the inverse of {part.name} does not give back {differing} bytes")


def round_trip_differences(
    header: Header,
    outputs: Collection[PlannedTensor],
    folder: Path,
    tensors: Collection[str] | None = None,
    *,
    sample: int | None = None,
    threads: int = 1,
) -> Iterator[Difference]:
    """Each written tensor of `folder`, or those named in `tensors`, taken back and compared with the source.

    outputs: the plan's; their dtypes are the folder's. sample: about how many weights of each tensor are compared, in
    slices spread evenly over it, the first and the last among them; all by default. Memory is bounded by a slice of
    weights for each thread. Raises InputError for a folder that is malformed, or holds a tensor in another shape or
    not at all.
    """
    stored = read_safetensors(folder, links=True)  # a Hub cache holds nothing else
    with TensorData(header) as source, TensorData(stored) as written, ThreadPoolExecutor(threads) as pool:

        def difference(output: PlannedTensor) -> Difference:
            return _difference(output, _find_stored(stored, output, folder), source, written, sample)

        chosen = [output for output in outputs if tensors is None or output.name in tensors]
        try:
            yield from pool.map(difference, with_scales(chosen, source))
        finally:
            pool.shutdown(cancel_futures=True)
        for data in (source, written):
            data.require_unchanged()


def _find_stored(stored: SafetensorsModel, output: PlannedTensor, folder: Path) -> SafetensorsTensor:
    where, found = f"tensor {printable(output.name)}", stored.tensors.get(output.name)
    if found is None:
        raise MalformedInput("is missing", where=where, path=folder)
    known = {U8} if output.part is not None else DType.__members__
    if found.shape != output.shape or found.dtype not in known:
        expected = "floats" if output.part is None else U8
        raise MalformedInput(
            f"is {found.dtype} {list(found.shape)}, expected {expected} {list(output.shape)}",
            where=where,
            path=stored.parts[found.part].path,
        )
    return found


def _difference(
    output: PlannedTensor,
    stored: SafetensorsTensor,
    source: TensorData,
    written: TensorData,
    sample: int | None,
) -> Difference:
    compared, differing = 0, 0
    worst = (False, -1.0, "", 0)  # whether it is further than allowed, how far, and where
    storage = np.dtype(np.uint8) if output.part is not None else DType(stored.dtype).storage
    size = storage.itemsize
    for index, piece, raw in _read(output, source, sample):
        tensor = piece.segment.source
        region = written.read(stored, piece.at * size, (piece.at + piece.extent) * size)
        now = piece.places(region.view(storage)).reshape(-1)
        compared += piece.elements
        if piece.segment.part is not None:
            wrong_bytes = _differing_bytes(piece.segment.part, raw, now)
            differing += len(wrong_bytes)
            at = int(wrong_bytes[0]) if len(wrong_bytes) else 0
            is_wrong = len(wrong_bytes) > 0
            worst = max(
                worst, (is_wrong, float(is_wrong), tensor.name, piece.first + at), key=itemgetter(0, 1)
            )
            continue
        # the plain definitions judge small tensors, and whatever is not the same bit for bit
        tried = 0 if index else PLAIN_WEIGHTS
        if piece.weights > tried and _is_same(piece, raw, now, tried):
            worst = max(worst, (False, 0.0, tensor.name, piece.first), key=itemgetter(0, 1))
            continue
        was = piece.segment.scaled(decode(tensor.type, raw))
        operation = piece.segment.operation
        if operation is not None:  # only then is a slice whole rows
            was = was.reshape(-1, piece.segment.columns)
        distance, wrong = _distances(operation, was, now, stored.dtype)
        differing += int(np.count_nonzero(wrong))
        at = int((np.where(wrong, distance, -1.0) if wrong.any() else distance).argmax())
        place = (bool(wrong[at]), float(distance[at]), tensor.name, piece.weight_at(at))
        worst = max(worst, place, key=itemgetter(0, 1))
    done = dict.fromkeys(str(s.operation) for s in output.segments if s.operation is not None)
    if output.part is not None:
        done = {output.part.name: None}
    return Difference(
        output.name,
        stored.dtype,
        output.weights,
        compared,
        differing,
        *worst[1:],
        ", ".join(done) if done else None,
    )


def _read(
    output: PlannedTensor, source: TensorData, sample: int | None
) -> Iterator[tuple[int, Slice, Bytes]]:
    """What of an output is compared, with its number and the source's bytes, in bands where slices are large."""
    for index, piece in _sample_slices(output, sample):
        start = piece.start - piece.segment.source.offset
        raw = source.read(piece.segment.source, start, start + piece.nbytes)
        for band, of_band in bands(piece, raw):
            yield index, band, of_band


def _sample_slices(output: PlannedTensor, sample: int | None) -> Sequence[tuple[int, Slice]]:
    """The slices of all segments, or so many of them as a sample has room for, with their place among all."""
    sampled = None if sample is None or sample >= output.weights else sample
    most = PIECE_WEIGHTS if sampled is None else min(SAMPLED_WEIGHTS, max(LEAST_WEIGHTS, sampled // 2))
    found = [piece for index in range(len(output.segments)) for piece in slices(output, index, most)]
    numbered = list(enumerate(found))
    if sampled is None:
        return numbered
    count = max(1, sampled // max(piece.elements for piece in found))
    return [numbered[round(at * (len(found) - 1) / max(1, count - 1))] for at in range(count)]


def _differing_bytes(part: BlockPart, raw: Bytes, now: Bytes) -> NDArray[np.int64]:
    """Of a slice's blocks the first weight of each whose bytes do not come back, once for each such byte."""
    before = part.of_blocks(raw)
    blocks, _ = np.nonzero(part.backward(now.reshape(before.shape)) != before)
    return blocks * part.quant.weights


def _is_same(piece: Slice, raw: Bytes, now: Written, tried: int) -> bool:
    """Whether a slice that was copied or moved has the bits of the source rounded once; False where it was neither.

    tried: weights at its beginning of which the compiled definition must give what the plain one gives; False if not.
    """
    from llorch.formats.quants.compiled import dequantize_into  # LLVM, for those that compare many weights

    segment, operation, type = piece.segment, piece.segment.operation, piece.segment.source.type
    if segment.scale is not None or not (operation is None or operation.moves):
        return False
    expected = np.empty(now.shape, now.dtype)
    dequantize_into(type, raw, expected)
    blocks = tried // type.weights
    plain = np.empty(blocks * type.weights, now.dtype)
    numpy_kernels.dequantize_into(type, raw[: blocks * type.block_bytes], plain)
    back = now
    if operation is not None:
        back = np.ascontiguousarray(operation.backward(now.reshape(-1, segment.columns))).reshape(-1)
    bits = f"<u{now.dtype.itemsize}"
    return np.array_equal(plain.view(bits), expected[: plain.size].view(bits)) and np.array_equal(
        back.view(bits), expected.view(bits)
    )


def _distances(
    operation: Operation | None, source: Float32, written: Written, dtype: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For each weight: how far what was written leads back to is from the source, and if too far."""
    values = widen(written, dtype)
    back = values if operation is None else operation.backward(values.reshape(source.shape))
    back, flat = np.ascontiguousarray(back).reshape(-1), source.reshape(-1)
    with np.errstate(invalid="ignore"):
        distance = np.abs(back.astype(np.float64) - flat)
    if operation is None or operation.moves:
        expected = np.empty(flat.shape, DType(dtype).storage)
        numpy_kernels.rounded_into(flat, expected)
        wrong = back.view(np.uint32) != widen(expected, dtype).view(np.uint32)
    else:
        # Three roundings at most: forward and backward in float32, and that of the written type between them. What is
        # between them shows in the source as far as the inverse's slope takes it; twice, where the slope itself moves.
        between = rounding_error(values.reshape(-1), "F32")
        if dtype != "F32":
            between += rounding_error(values.reshape(-1), dtype)
        allowed = rounding_error(back, "F32") + rounding_error(flat, "F32")
        allowed += between * operation.slope(back) * (1.0 if operation.exact else 2.0)
        wrong = ~(distance <= allowed)
    return np.where(np.isnan(distance), np.inf, distance), wrong
