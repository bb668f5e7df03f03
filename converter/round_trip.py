"""Round trip: what was written, through the inverse operations, must be the source again.

It is checked twice: in memory, for every piece of weights that an operation changed, before it is written; and for
the files of a finished folder. Weights that were moved or copied must be the source's, rounded once, bit for bit;
computed ones must be as near as the rounding of the written dtype allows. For a weight with a scale beside it, the
source is their product in float32: dividing by the scale would not restore every bit.
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

# most weights of a slice of a sampled tensor: small, so that there are several slices
SAMPLED_WEIGHTS = 1 << 18
LEAST_WEIGHTS = 1 << 12  # least of these, however small the sample is
PLAIN_WEIGHTS = 1 << 14  # at a tensor's beginning, where compiled and plain dequantization must agree


@dataclass(frozen=True, slots=True)
class Difference:
    """How a written tensor, converted back, differs from the source.

    weights: of the tensor. compared: how many of them were. differing: how many are further from the source than
    allowed.
    worst: the largest distance among those, or if there are none, among all; 0 if every weight is the source's rounded
    once, bit for bit. source, index: where the worst is: a source tensor, and a weight of it.
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
    """Raise RoundTripError unless `written`, converted back, is `before`.

    before: the operation's input: in float32, or already rounded to `dtype` if the operation only moves values.
    """
    if operation.moves and before.dtype == written.dtype:
        back, bits = operation.backward(written), f"<u{written.dtype.itemsize}"
        differing = np.count_nonzero(back.reshape(-1).view(bits) != before.reshape(-1).view(bits))
    else:
        differing = np.count_nonzero(_distances(operation, before, written, dtype)[1])
    if differing:
        raise RoundTripError(f"{name}: the inverse of {operation} does not give back {differing} weights")


def require_blocks_back(name: str, part: BlockPart, before: Bytes, written: Bytes) -> None:
    """Raise RoundTripError unless the written bytes of blocks, (n, nbytes), convert back to the source's."""
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
    """Convert each written tensor of `folder`, or those in `tensors`, back and compare it with the source.

    outputs: the plan's; the dtypes are the folder's. sample: about how many weights of each tensor to compare, in
    slices spread evenly over it, including the first and the last; by default all. Memory is bounded by one slice of
    weights per thread. Raises InputError for a malformed folder, or a tensor that is missing or has another shape.
    """
    stored = read_safetensors(folder, links=True)  # a Hub cache consists of links
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
    worst = (
        False,
        -1.0,
        "",
        0,
    )  # whether it exceeds what is allowed, the distance, the source tensor, the weight
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
        # Small slices, and those that are not bit for bit the same, are compared by the plain definitions.
        tried = 0 if index else PLAIN_WEIGHTS
        if piece.weights > tried and _is_same(piece, raw, now, tried):
            worst = max(worst, (False, 0.0, tensor.name, piece.first), key=itemgetter(0, 1))
            continue
        was = piece.segment.apply_scale(decode(tensor.type, raw))
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
    """Yield the slices of an output to compare, with their number and source bytes; large slices in bands."""
    for index, piece in _sample_slices(output, sample):
        start = piece.start - piece.segment.source.offset
        raw = source.read(piece.segment.source, start, start + piece.nbytes)
        for band, of_band in bands(piece, raw):
            yield index, band, of_band


def _sample_slices(output: PlannedTensor, sample: int | None) -> Sequence[tuple[int, Slice]]:
    """Return the slices of all segments, or an even sample of them, each with its number among all."""
    sampled = None if sample is None or sample >= output.weights else sample
    most = PIECE_WEIGHTS if sampled is None else min(SAMPLED_WEIGHTS, max(LEAST_WEIGHTS, sampled // 2))
    found = [piece for index in range(len(output.segments)) for piece in slices(output, index, most)]
    numbered = list(enumerate(found))
    if sampled is None:
        return numbered
    count = max(1, sampled // max(piece.elements for piece in found))
    return [numbered[round(at * (len(found) - 1) / max(1, count - 1))] for at in range(count)]


def _differing_bytes(part: BlockPart, raw: Bytes, now: Bytes) -> NDArray[np.int64]:
    """Return, for every byte that does not convert back, the index of the first weight of its block."""
    before = part.of_blocks(raw)
    blocks, _ = np.nonzero(part.backward(now.reshape(before.shape)) != before)
    return blocks * part.quant.weights


def _is_same(piece: Slice, raw: Bytes, now: Written, tried: int) -> bool:
    """Return whether a copied or moved slice has the bits of the source rounded once; False for a computed one.

    tried: weights at its beginning for which compiled and plain dequantization must agree, else False.
    """
    from llorch.formats.quants.compiled import dequantize_into  # imports LLVM, only worth it for many weights

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
    """Return, for each weight, how far the written one converted back is from the source's, and if that is too far."""
    values = widen(written, dtype)
    back = values if operation is None else operation.backward(values.reshape(source.shape))
    back, flat = np.ascontiguousarray(back).reshape(-1), source.reshape(-1)
    with np.errstate(invalid="ignore"):
        distance = np.abs(back.astype(np.float64) - flat)
    if operation is None or operation.moves:
        expected = np.empty(flat.shape, DType(dtype).storage)
        numpy_kernels.round_into(flat, expected)
        wrong = back.view(np.uint32) != widen(expected, dtype).view(np.uint32)
    else:
        # At most three roundings: forward and backward in float32, and to the written dtype in between. The error in
        # between reaches the source times the inverse's slope; times two if the slope itself varies.
        between = rounding_error(values.reshape(-1), "F32")
        if dtype != "F32":
            between += rounding_error(values.reshape(-1), dtype)
        allowed = rounding_error(back, "F32") + rounding_error(flat, "F32")
        allowed += between * operation.slope(back) * (1.0 if operation.exact else 2.0)
        wrong = ~(distance <= allowed)
    return np.where(np.isnan(distance), np.inf, distance), wrong
