"""The layout is the safetensors library's, and the library and our reader read it back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from llorch.formats.gguf.tensor_data import TensorData
from llorch.formats.safetensors import BITS, INDEX, SINGLE, Layout, balance, lay_out, read_safetensors

Declared = tuple[str, str, tuple[int, ...]]

NUMPY = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "u1"}
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=12)
SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@st.composite
def declared(draw: st.DrawFn) -> list[Declared]:
    """Return tensors in the library's order: larger elements first, then by name."""
    names = draw(st.lists(NAMES, max_size=8, unique=True))
    tensors = [(name, draw(st.sampled_from(sorted(NUMPY))), draw(SHAPES)) for name in names]
    return sorted(tensors, key=lambda row: (-BITS[row[1]], row[0].encode()))


def written(folder: Path, layout: Layout, content: bytes) -> Path:
    """Write the laid-out files, with data taken from `content` in order."""
    folder.mkdir()
    for number, file in enumerate(layout.files):
        data = b"".join(content[: t.nbytes] for t in layout.tensors if t.part == number)
        (folder / file.name).write_bytes(file.header + data)
    if layout.index is not None:
        (folder / INDEX).write_bytes(layout.index)
    return folder


@given(tensors=declared())
def test_a_file_is_byte_for_byte_that_of_the_library(tensors: list[Declared]) -> None:
    arrays = {name: np.arange(math.prod(shape), dtype=NUMPY[d]).reshape(shape) for name, d, shape in tensors}
    layout = lay_out(tensors, 10**9)
    ours = layout.files[0].header + b"".join(arrays[t.name].tobytes() for t in layout.tensors)
    assert ours == save(arrays, metadata={"format": "pt"})
    assert len(ours) == layout.files[0].size_bytes
    assert all(
        ours[t.offset : t.offset + t.nbytes] == arrays[t.name].tobytes() and t.part == 0
        for t in layout.tensors
    )


@given(tensors=declared(), most=st.integers(1, 200))
def test_shards_keep_the_limit_and_hold_every_tensor_once(tensors: list[Declared], most: int) -> None:
    layout = lay_out(tensors, most)
    assert sorted((t.name, t.dtype, t.shape) for t in layout.tensors) == sorted(tensors)
    held = [[t.nbytes for t in layout.tensors if t.part == n] for n in range(len(layout.files))]
    assert all(sum(shard) <= most or len(shard) == 1 for shard in held)
    assert all(sum(shard) for shard in held) or not any(t.nbytes for t in layout.tensors)
    sizes = [len(file.header) + sum(shard) for file, shard in zip(layout.files, held, strict=True)]
    assert [file.size_bytes for file in layout.files] == sizes
    assert all(len(file.header) % 8 == 0 for file in layout.files)
    assert all(t.offset % max(1, BITS[t.dtype] // 8) == 0 for t in layout.tensors)
    assert lay_out(tensors, most) == layout


@given(sizes=st.lists(st.integers(0, 1000), max_size=200), most=st.integers(1, 5000))
def test_shards_are_balanced(sizes: list[int], most: int) -> None:
    shards = balance(sizes, most)
    assert sorted(index for shard in shards for index in shard) == list(range(len(sizes)))
    held = [sum(sizes[index] for index in shard) for shard in shards]
    small = (
        [total for total, shard in zip(held, shards, strict=True) if 2 * sizes[shard[0]] <= most]
        if sizes
        else []
    )
    largest = max((size for size in sizes if 2 * size <= most), default=0)
    if small:
        assert max(small) - min(small) <= 2 * largest
    assert all(shard == sorted(shard) for shard in shards), "a shard keeps the order"
    assert all(total <= most or len(shard) == 1 for total, shard in zip(held, shards, strict=True))
    assert sum(held) > most or len(shards) == 1


def test_no_small_shard_precedes_a_tensor_that_fills_one() -> None:
    assert balance([1_400, 4_999_999, 2_000_000, 2_000_000], 5_000_000) == [[0, 2, 3], [1]]
    assert balance([1_400, 6_000_000, 2_000_000, 2_000_000], 5_000_000) == [[0, 2, 3], [1]]
    assert balance([1, 2, 2, 2, 2, 2, 2], 12) == [[0, 1, 2, 3], [4, 5, 6]]


def test_three_shards_are_named_and_indexed_as_transformers_does(tmp_path: Path) -> None:
    layout = lay_out([("a", "F32", (2, 2)), ("b", "F32", (4,)), ("c", "BF16", (9,))], 20)
    names = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert [file.name for file in layout.files] == names
    assert layout.index is not None
    assert json.loads(layout.index) == {
        "metadata": {"total_size": 16 + 16 + 18},
        "weight_map": dict(zip("abc", names, strict=True)),
    }


def test_one_file_has_no_index() -> None:
    layout = lay_out([("a", "F32", (2, 2)), ("b", "F32", (4,))], 32)
    assert ([file.name for file in layout.files], layout.index) == ([SINGLE], None)


def test_no_tensors_give_a_file_without_tensors(tmp_path: Path) -> None:
    layout = lay_out([], 100)
    assert load_file(written(tmp_path / "model", layout, b"") / SINGLE) == {}


def test_a_duplicate_name_is_refused() -> None:
    with pytest.raises(ValueError, match="the same name"):
        lay_out([("a", "F32", (1,)), ("a", "F32", (1,))], 100)


@pytest.mark.parametrize("most", [1, 40, 10**9])
def test_what_was_laid_out_is_what_is_read(tmp_path: Path, most: int) -> None:
    layout = lay_out(
        [("w", "F32", (3, 3)), ("x.y", "F16", (7,)), ("z", "U8", ()), ("none", "U8", (0, 4))], most
    )
    folder = written(tmp_path / "model", layout, bytes(range(200)))
    stored = read_safetensors(folder)
    assert stored.tensors == {t.name: t for t in layout.tensors}
    assert [part.path.name for part in stored.parts] == [file.name for file in layout.files]
    with TensorData(stored) as data:
        assert data.read(stored.tensors["w"], 4, 9).tolist() == [4, 5, 6, 7, 8]
        assert data.read(stored.tensors["none"]).size == 0
    library = {name: tensor for part in stored.parts for name, tensor in load_file(part.path).items()}
    assert library["w"].tobytes() == bytes(range(36))
    assert library.keys() == stored.tensors.keys()
