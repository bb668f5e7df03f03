"""Tensor bytes are the file's, from the file whose header was read, with many threads reading."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from llorch.base.errors import MalformedInput
from llorch.formats.gguf.file import Header, read_header
from llorch.formats.gguf.tensor_data import TensorData
from tests.models.gguf_writer import TYPE_F32, Model
from tests.models.tiny import random_llama


@pytest.fixture
def header(tmp_path: Path) -> Header:
    """The header of a model with random weights."""
    return read_header(random_llama().write(tmp_path / "m.gguf"))


def test_any_part_of_a_tensor_can_be_read(header: Header) -> None:
    model = random_llama()
    with TensorData(header) as data:
        for row in model.tensors:
            tensor = header.tensors[str(row.name)]
            assert data.read(tensor).tobytes() == row.data
            assert data.read(tensor, 5, 105).tobytes() == row.data[5:105]
            assert data.read(tensor, tensor.nbytes).size == 0


def test_many_threads_read_at_once(header: Header) -> None:
    tensors = list(header.tensors.values()) * 20
    with TensorData(header) as data, ThreadPoolExecutor(8) as pool:
        alone = [data.read(tensor).tobytes() for tensor in header.tensors.values()] * 20
        assert [raw.tobytes() for raw in pool.map(data.read, tensors)] == alone


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 64)


def overwrite(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-4] + b"abcd")


def replace(path: Path) -> None:
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize("change", [shrink, overwrite, replace])
def test_a_file_that_changed_before_it_was_opened_again_is_noticed(
    change: Callable[[Path], None], header: Header
) -> None:
    change(header.path)
    with pytest.raises(OSError, match="changed") as caught, TensorData(header):
        pass
    assert caught.value.filename == str(header.path)


@pytest.mark.parametrize("change", [shrink, overwrite])
def test_a_file_that_changed_while_it_was_read_is_noticed(
    change: Callable[[Path], None], header: Header
) -> None:
    with TensorData(header) as data:
        data.require_unchanged()
        change(header.path)
        with pytest.raises(OSError, match="changed"):
            data.require_unchanged()


def test_a_file_that_shrank_is_an_error_that_names_the_tensor_and_no_signal(header: Header) -> None:
    with TensorData(header) as data:
        os.truncate(header.path, header.tensors["output.weight"].offset + 10)
        with pytest.raises(MalformedInput, match=r"tensor 'output\.weight': was truncated") as caught:
            data.read(header.tensors["output.weight"])
        assert caught.value.path == header.path
        assert caught.value.offset == header.tensors["output.weight"].offset + 10


def test_a_file_that_was_removed_is_an_os_error(header: Header) -> None:
    header.path.unlink()
    with pytest.raises(FileNotFoundError), TensorData(header):
        pass


def test_no_descriptor_stays_open(header: Header) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with TensorData(header) as data:
            data.read(header.tensors["output.weight"])
    shrink(header.path)
    with pytest.raises(OSError, match="changed"), TensorData(header):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_view_of_another_array_is_filled(tmp_path: Path) -> None:
    weights = np.arange(6, dtype="<f4")
    path = Model().tensor("x", [6], TYPE_F32, data=weights.tobytes()).write(tmp_path / "m.gguf")
    header, found = read_header(path), np.empty(6, "<f4")
    with TensorData(header) as data:
        data.read_into(header.tensors["x"], 0, found.view(np.uint8))
    assert found.tolist() == weights.tolist()
