"""Errors of the written weights against the original ones, by tensor, under transformers' names."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from llorch.converter.plan.dtype import DType, Float32, widen
from llorch.formats import SafetensorsModel, SafetensorsTensor, read_safetensors
from llorch.formats.gguf import TensorData

PIECE_WEIGHTS = 1 << 20


@dataclass(frozen=True, slots=True)
class TensorError:
    """The error of one written tensor.

    relative: the root mean squared error divided by the original's root mean square; None if the original is zero and
    the written tensor is not, or the original is not finite. worst: the largest distance of any weight; None if the
    original is not finite.
    """

    name: str
    weights: int
    relative: float | None
    worst: float | None


@dataclass(frozen=True, slots=True)
class ReferenceComparison:
    """The comparison of a written folder with the original.

    missing: names that only the original has. extra: names that only the folder has. incomparable: name → why.
    """

    errors: tuple[TensorError, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    incomparable: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """Return the comparison as a JSON object."""
        return {
            "tensors": [asdict(error) for error in self.errors],
            "missing": list(self.missing),
            "extra": list(self.extra),
            "incomparable": dict(self.incomparable),
        }


def read_reference(folder: str | os.PathLike[str]) -> SafetensorsModel:
    """Read the headers of an original model: a folder as on the Hub, or one .safetensors file.

    A folder's files may be symbolic links, as they are in the Hub's cache. Raises InputError for a malformed
    one, OSError for what cannot be read.
    """
    return read_safetensors(folder, links=True)


def compare_with_reference(folder: Path, original: SafetensorsModel) -> ReferenceComparison:
    """Compare every tensor of a written folder with the original's of the same name.

    In float64, in pieces of 8 MiB. Raises as `read_reference` does, for either side.
    """
    written = read_safetensors(folder)
    both = [name for name in written.tensors if name in original.tensors]
    reasons = {name: why for name in both if (why := _reason_incomparable(written, original, name))}
    with TensorData(written) as converted, TensorData(original) as theirs:
        errors = [
            _error(written.tensors[name], original.tensors[name], converted, theirs)
            for name in both
            if name not in reasons
        ]
        for data in (converted, theirs):
            data.require_unchanged()
    return ReferenceComparison(
        tuple(errors),
        tuple(sorted(original.tensors.keys() - written.tensors.keys())),
        tuple(sorted(written.tensors.keys() - original.tensors.keys())),
        reasons,
    )


def _reason_incomparable(written: SafetensorsModel, original: SafetensorsModel, name: str) -> str:
    converted, theirs = written.tensors[name], original.tensors[name]
    if converted.shape != theirs.shape:
        return f"its shape is {list(converted.shape)}, the original's {list(theirs.shape)}"
    if theirs.dtype not in DType.__members__:
        return f"the original is {theirs.dtype}"
    return ""


def _error(
    written: SafetensorsTensor, original: SafetensorsTensor, converted: TensorData, theirs: TensorData
) -> TensorError:
    squared_error = squares = worst = 0.0
    weights = math.prod(written.shape)
    pieces = zip(_pieces(written, converted, weights), _pieces(original, theirs, weights), strict=True)
    for ours_now, theirs_now in pieces:
        was = theirs_now.astype(np.float64)
        distance = np.abs(ours_now - was)
        squared_error += float(np.dot(distance, distance))
        squares += float(np.dot(was, was))
        worst = max(worst, float(distance.max()))
    if not math.isfinite(squares):
        return TensorError(written.name, weights, None, None)
    if not squares:
        return TensorError(written.name, weights, None if squared_error else 0.0, worst)
    return TensorError(written.name, weights, math.sqrt(squared_error / squares), worst)


def _pieces(tensor: SafetensorsTensor, data: TensorData, weights: int) -> Iterator[Float32]:
    storage = DType(tensor.dtype).storage
    for first in range(0, weights, PIECE_WEIGHTS):
        stop = min(first + PIECE_WEIGHTS, weights)
        raw = data.read(tensor, first * storage.itemsize, stop * storage.itemsize)
        yield widen(raw.view(storage), tensor.dtype)
