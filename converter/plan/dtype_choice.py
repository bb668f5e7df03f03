"""The dtype of each written tensor: the requested one, or with `auto` the narrowest that loses nothing.

`auto` for a source with only F32, F16 and BF16: a tensor stored in 16 bits keeps its dtype. One in F32 becomes F16 or
BF16 if every weight fits, which needs a second reading of the weights, up to the first piece that does not fit. If
both fit, it is the one that more of the model's weights need; if none needs either, BF16, which models are trained
in. A source with quantized tensors becomes BF16 as a whole. Blocks kept as they are (gpt-oss' MXFP4 experts) lose
nothing and do not count as quantized.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llorch.base.printable import printable
from llorch.converter.plan.dtype import DType, Float32
from llorch.converter.plan.schedule import slices
from llorch.converter.plan.segments import OutputTensor, PlannedTensor
from llorch.formats.gguf import TensorData
from llorch.formats.quants import decode

AUTO = "auto"
UNQUANTIZED = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class DTypeChoice:
    """outputs: with their dtypes. dtype: the model's, which is that of most of its weights."""

    outputs: tuple[OutputTensor, ...]
    dtype: DType
    warnings: tuple[str, ...]


def choose_dtypes(outputs: Sequence[PlannedTensor], data: TensorData, dtype: str) -> DTypeChoice:
    """Choose a dtype for each output; `dtype` is "auto" or a name in torch."""
    weights_of = [output for output in outputs if output.part is None]
    quantized = any(s.source.type.name not in UNQUANTIZED for output in weights_of for s in output.segments)
    if dtype != AUTO or quantized:
        one = DType.BF16 if dtype == AUTO else DType.from_torch(dtype)
        return DTypeChoice(tuple(output.with_dtype(output.dtype or one) for output in outputs), one, ())
    seen = [output for output in outputs if output.dtype is None and not _is_inexact(output)]
    lossless = {output.name: _stored_dtypes(output) or _narrowest(output, data) for output in seen}
    only = Counter[DType]()
    for output in seen:
        if len(lossless[output.name]) == 1:
            only[lossless[output.name][0]] += output.weights
    tie = DType.F16 if only[DType.F16] > only[DType.BF16] else DType.BF16
    by_name = {output.name: _pick(lossless[output.name], tie) for output in seen}
    weights = Counter[DType]()
    for output in seen:
        weights[by_name[output.name]] += output.weights
    model, _ = weights.most_common(1)[0]
    chosen = tuple(output.with_dtype(output.dtype or by_name.get(output.name, model)) for output in outputs)
    wider = [name for name, dtype in by_name.items() if dtype != model and model is not DType.F32]
    warning = (
        f"{len(wider)} tensors are not {model.torch_name} as most weights are, and a loader that makes all of one "
        f"type may round them: {', '.join(printable(name) for name in wider[:12])}{' …' if len(wider) > 12 else ''}"
    )
    return DTypeChoice(chosen, model, (warning,) if wider else ())


def _is_inexact(output: PlannedTensor) -> bool:
    """Return whether the bits do not show the original dtype of the weights; such a tensor takes the model's dtype."""
    return any(s.operation is not None and not s.operation.exact for s in output.segments)


def _pick(lossless: Sequence[DType], tie: DType) -> DType:
    return tie if tie in lossless else lossless[0]


def _stored_dtypes(output: PlannedTensor) -> tuple[DType, ...]:
    """Return the 16-bit dtype that all of an output's sources have, if its weights are only moved; else none."""
    types = {segment.source.type.name for segment in output.segments}
    return tuple(map(DType, types)) if output.moves and len(types) == 1 and types <= {"F16", "BF16"} else ()


def _narrowest(output: PlannedTensor, data: TensorData) -> tuple[DType, ...]:
    tests: dict[DType, Callable[[Float32], bool]] = {DType.F16: _fits_f16, DType.BF16: _fits_bf16}
    for index in range(len(output.segments)):
        for piece in slices(output, index):
            tensor = piece.segment.source
            start = piece.start - tensor.offset
            weights = piece.segment.apply_scale(
                decode(tensor.type, data.read(tensor, start, start + piece.nbytes))
            )
            operation = piece.segment.operation
            if operation is not None and not operation.moves:
                weights = operation.forward(weights.reshape(-1, piece.segment.columns))
            tests = {dtype: fits for dtype, fits in tests.items() if fits(weights)}
            if not tests:
                return (DType.F32,)
    return tuple(tests)


def _fits_f16(weights: Float32) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        back = weights.astype(np.float16).astype(np.float32)
    return bool((back.view(np.uint32) == np.ascontiguousarray(weights).view(np.uint32)).all())


def _fits_bf16(weights: Float32) -> bool:
    return not (np.ascontiguousarray(weights).view(np.uint32) & np.uint32(0xFFFF)).any()
