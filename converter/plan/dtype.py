"""Which type each tensor is written in: what was asked for, or the narrowest that loses nothing.

`auto` for a source of F32, F16 and BF16 only: a tensor stored in 16 bits stays as it is; one in F32 becomes
F16 or BF16 if every weight of it can, which takes a look at the weights: a second reading, that ends at the
first piece which needs its 32 bits. Where both would do, it is the one that more of the model's weights have;
where none has either, BF16, which models are trained in. A source with quantized tensors becomes BF16 as a
whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llorch.base.shown import shown
from llorch.converter.plan.rounding import TORCH_NAME, Float32
from llorch.converter.plan.schedule import slices
from llorch.converter.plan.tensors import OutputTensor
from llorch.formats.gguf import TensorData
from llorch.formats.quants import decode

AUTO = "auto"
BY_TORCH_NAME: Mapping[str, str] = {name: dtype for dtype, name in TORCH_NAME.items()}
UNQUANTIZED = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class DTypeChoice:
    """outputs: with their dtypes. dtype: the model's, as torch spells it: that of most of its weights."""

    outputs: tuple[OutputTensor, ...]
    dtype: str
    warnings: tuple[str, ...]


def choose_dtypes(outputs: Sequence[OutputTensor], data: TensorData, dtype: str) -> DTypeChoice:
    """The outputs with a dtype each; `dtype` is "auto" or one of torch's names."""
    quantized = any(s.source.type.name not in UNQUANTIZED for output in outputs for s in output.segments)
    if dtype != AUTO or quantized:
        one = BY_TORCH_NAME["bfloat16" if dtype == AUTO else dtype]
        given = tuple(output if output.dtype else replace(output, dtype=one) for output in outputs)
        return DTypeChoice(given, TORCH_NAME[one], ())
    seen = [output for output in outputs if output.dtype is None and not _inexact(output)]
    lossless = {output.name: _stored(output) or _narrowest(output, data) for output in seen}
    only = Counter[str]()
    for output in seen:
        if len(lossless[output.name]) == 1:
            only[lossless[output.name][0]] += output.weights
    tie = "F16" if only["F16"] > only["BF16"] else "BF16"
    by_name = {output.name: _one(lossless[output.name], tie) for output in seen}
    weights = Counter[str]()
    for output in seen:
        weights[by_name[output.name]] += output.weights
    model, _ = weights.most_common(1)[0]
    chosen = tuple(
        output if output.dtype else replace(output, dtype=by_name.get(output.name, model))
        for output in outputs
    )
    wider = [name for name, dtype in by_name.items() if dtype != model and model != "F32"]
    warning = (
        f"{len(wider)} tensors are not {TORCH_NAME[model]} as most weights are, and a loader that makes all of one "
        f"type may round them: {', '.join(shown(name) for name in wider[:12])}{' …' if len(wider) > 12 else ''}"
    )
    return DTypeChoice(chosen, TORCH_NAME[model], (warning,) if wider else ())


def _inexact(output: OutputTensor) -> bool:
    """Whether its bits do not show what type the model's own weights had: they then take the model's."""
    return any(s.operation is not None and not s.operation.exact for s in output.segments)


def _one(lossless: Sequence[str], tie: str) -> str:
    return tie if tie in lossless else lossless[0]


def _stored(output: OutputTensor) -> tuple[str, ...]:
    """The 16-bit type that all of an output's sources have, if its weights only move."""
    types = {segment.source.type.name for segment in output.segments}
    return tuple(types) if output.moves and len(types) == 1 and types <= {"F16", "BF16"} else ()


def _narrowest(output: OutputTensor, data: TensorData) -> tuple[str, ...]:
    tests: dict[str, Callable[[Float32], bool]] = {"F16": _fits_f16, "BF16": _fits_bf16}
    for index in range(len(output.segments)):
        for piece in slices(output, index):
            tensor = piece.segment.source
            start = piece.start - tensor.offset
            weights = piece.segment.scaled(
                decode(tensor.type, data.read(tensor, start, start + piece.nbytes))
            )
            operation = piece.segment.operation
            if operation is not None and not operation.moves:
                weights = operation.forward(weights.reshape(-1, piece.segment.columns))
            tests = {dtype: fits for dtype, fits in tests.items() if fits(weights)}
            if not tests:
                return ("F32",)
    return tuple(tests)


def _fits_f16(weights: Float32) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        back = weights.astype(np.float16).astype(np.float32)
    return bool((back.view(np.uint32) == np.ascontiguousarray(weights).view(np.uint32)).all())


def _fits_bf16(weights: Float32) -> bool:
    return not (np.ascontiguousarray(weights).view(np.uint32) & np.uint32(0xFFFF)).any()
