"""Conversion of one piece of weights: dequantize, scale, apply the operation, round once, check that all is finite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.plan.dtype import DType, Written, all_finite
from llorch.converter.plan.schedule import Slice
from llorch.converter.plan.segments import OutputTensor
from llorch.converter.round_trip import require_blocks_back, require_round_trip
from llorch.converter.schema.block_parts import BlockPart
from llorch.converter.write.buffers import Buffer, Bytes
from llorch.formats.quants import QuantType, decode, numpy_kernels

# (type, whole blocks, array to fill) → −1, or the first weight that is not finite in the array's dtype.
Dequantize = Callable[[QuantType, Bytes, Written], int]

# With fewer weights NumPy finishes before LLVM is even loaded; measured, see docs/conversion.md.
PLAIN_BELOW = 1 << 23


def dequantizer(weights: int) -> Dequantize:
    """Return the dequantization that is faster for so many weights, with the time to load it."""
    if weights < PLAIN_BELOW:
        return numpy_kernels.dequantize_into
    # LLVM takes 60 ms and 50 MB, which a small model does not need
    from llorch.formats.quants import compiled

    return compiled.dequantize_into


def converted_bytes(
    output: OutputTensor, piece: Slice, raw: Bytes, buffer: Buffer, dequantize: Dequantize
) -> Bytes:
    """Return the bytes to write for a piece with source bytes `raw` (little-endian): `raw` itself, or in the buffer.

    Blocks that are kept as they are are dequantized too, to find weights that are not finite.

    Raises MalformedInput for weights that are not finite, UnsupportedInput for finite ones that the output's dtype
    cannot hold; both name the tensor, and the block or weight.
    """
    quant, dtype = piece.segment.source.type, str(output.dtype)
    if piece.segment.part is not None:
        return _block_part_bytes(piece.segment.part, output, piece, raw, buffer, dequantize)
    storage, operation, scale = DType(dtype).storage, piece.segment.operation, piece.segment.scale
    if operation is None and scale is None and quant.name == dtype:
        _require_finite(all_finite(raw.view(storage), dtype), piece, raw, dtype)
        return raw
    written = _view(buffer.written, storage, piece.weights)
    if operation is None and scale is None:
        _require_finite(dequantize(quant, raw, written) < 0, piece, raw, dtype)
        return written.view(np.uint8)
    # If the operation only moves values, they can be rounded before it: the round trip is then exact.
    rounded = scale is None and operation is not None and operation.moves
    before = _view(buffer.between, storage if rounded else DType("F32").storage, piece.weights)
    _require_finite(dequantize(quant, raw, before) < 0, piece, raw, dtype)
    before = piece.segment.apply_scale(before)
    if operation is not None:  # only then is a slice whole rows
        before = before.reshape(-1, piece.segment.columns)
    after = before if operation is None else operation.forward(before)
    if rounded:
        written.reshape(after.shape)[...] = after
    else:
        after = np.ascontiguousarray(after)
        numpy_kernels.round_into(after.reshape(-1), written)
        _require_finite(all_finite(written, dtype), piece, raw, dtype)
    if operation is not None:
        require_round_trip(output.name, operation, before, written.reshape(after.shape), dtype)
    return written.view(np.uint8)


def _block_part_bytes(
    part: BlockPart, output: OutputTensor, piece: Slice, raw: Bytes, buffer: Buffer, dequantize: Dequantize
) -> Bytes:
    weights = _view(buffer.between, DType.F32.storage, piece.weights)
    _require_finite(dequantize(piece.segment.source.type, raw, weights) < 0, piece, raw, DType.F32)
    before = part.of_blocks(raw)
    written = buffer.written[: before.size].reshape(before.shape)
    written[...] = part.forward(before)
    require_blocks_back(output.name, part, before, written)
    return written.reshape(-1)


def _view(memory: Bytes, storage: np.dtype[np.generic], count: int) -> Written:
    return memory[: count * storage.itemsize].view(storage)


def _require_finite(finite: bool, piece: Slice, raw: Bytes, dtype: str) -> None:
    if not finite:
        raise _not_finite(piece, raw, dtype)


def _not_finite(piece: Slice, raw: Bytes, dtype: str) -> InputError:
    """Return the error for a piece with a weight that is not finite as written."""
    quant, where = piece.segment.source.type, f"tensor {printable(piece.segment.source.name)}"
    with np.errstate(all="ignore"):
        weights = piece.segment.apply_scale(decode(quant, raw))
    odd = np.flatnonzero(~np.isfinite(weights))
    if len(odd):
        at = int(odd[0])
        block = piece.weight_at(at) // quant.weights
        place = f"block {block} ({quant.name})" if quant.weights > 1 else f"weight {block}"
        offset = piece.segment.source.offset + block * quant.block_bytes
        return MalformedInput(f"{place} is not finite ({weights[at]})", where=where, offset=offset)
    largest = float(np.abs(weights).max())
    larger = "bfloat16 or float32" if dtype == "F16" else "float32"
    return UnsupportedInput(
        f"has weights as large as {largest:g}, too large for {DType(dtype).torch_name}",
        where=where,
        hint=f"convert to {larger}",
    )
