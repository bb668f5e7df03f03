"""Metadata arrays that become tensors: a malformed one is refused, naming its key, whatever its bytes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llorch.base.errors import MalformedInput
from llorch.converter.plan.layer_arrays import layer_tensors
from llorch.formats.gguf import TensorData, read_header
from tests.models.gguf_writer import F32, STRING, Value, array, one
from tests.models.tiny import random_llama

KEY = "xielu.alpha_n"


def test_each_entry_is_a_tensor_of_one_weight(tmp_path: Path) -> None:
    path = random_llama(layers=3).key(KEY, array(F32, [0.5, -2.0, 1.25])).write(tmp_path / "m.gguf")
    header = read_header(path)
    found = layer_tensors(header, [KEY])
    assert list(found) == [f"blk.{layer}.{KEY}" for layer in range(3)]
    with TensorData(header) as data:
        weights = [data.read(tensor, 0, 4).view(np.float32).item() for tensor in found.values()]
    assert weights == [0.5, -2.0, 1.25]


def test_one_number_is_for_every_layer(tmp_path: Path) -> None:
    header = read_header(random_llama(layers=3).key(KEY, one(F32, -1.75)).write(tmp_path / "m.gguf"))
    found = layer_tensors(header, [KEY])
    with TensorData(header) as data:
        weights = [data.read(tensor, 0, 4).view(np.float32).item() for tensor in found.values()]
    assert weights == [-1.75] * 3


@pytest.mark.parametrize(
    "value",
    [
        one(STRING, b"a"),
        array(STRING, [b"\xff", b"", b"a"]),
        one(F32, float("inf")),
        array(F32, [1.0, 2.0]),
        array(F32, [1.0, float("nan"), 2.0]),
    ],
    ids=["text", "texts", "infinite", "too few", "not finite"],
)
def test_a_malformed_layer_array_is_refused_by_its_key(value: Value, tmp_path: Path) -> None:
    header = read_header(random_llama(layers=3).key(KEY, value).write(tmp_path / "m.gguf"))
    with pytest.raises(MalformedInput, match=KEY):
        layer_tensors(header, [KEY])
