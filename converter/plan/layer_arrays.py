"""Per-layer numbers that a GGUF file has in its metadata, and a folder as tensors of one weight.

They are presented as tensors, whose bytes are the array's entries, or the one number for all layers, in the header. So
rules, pipeline and round trip need no special case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf import Header, Tensor, Value, ValueType
from llorch.formats.quants import by_name

ARRAY_HEADER_BYTES = 4 + 8  # before an array's entries: their type, and their number


def layer_tensors(header: Header, keys: Sequence[str]) -> Mapping[str, Tensor]:
    """Return a tensor `blk.{i}.KEY` for every layer, for every key that the file has.

    MalformedInput for a key that is neither an array of one finite float32 per layer, nor one for all layers.
    Source: llama.cpp, src/llama-model-loader.cpp, `get_key_or_arr`.
    """
    layers = header.metadata.integer(f"{header.metadata.text('general.architecture')}.block_count")
    found: dict[str, Tensor] = {}
    for key in keys:
        value = header.metadata.get(key)
        if value is None:
            continue
        _require(key, value, layers)
        start, step = (
            (value.offset, 0) if value.type is ValueType.F32 else (value.offset + ARRAY_HEADER_BYTES, 4)
        )
        for layer in range(layers):
            name = f"blk.{layer}.{key}"
            found[name] = Tensor(name, (1,), by_name("F32"), 0, start + step * layer, 4)
    return found


def _require(key: str, value: Value, layers: int) -> None:
    if value.type is ValueType.F32 and isinstance(value.data, float) and math.isfinite(value.data):
        return
    # only counted for the message
    numbers = value.data if isinstance(value.data, np.ndarray) else np.zeros(0)
    floats = value.type is ValueType.ARRAY and value.element is ValueType.F32
    if not floats or len(numbers) != layers or not np.isfinite(numbers).all():
        raise MalformedInput(
            f"is {value.type_name} of {len(numbers)} numbers, expected {layers} finite float32, one a layer, "
            "or one for all",
            where=f"key {printable(key)}",
            offset=value.offset,
        )
