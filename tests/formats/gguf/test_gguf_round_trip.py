"""What the tests' own writer wrote is read back bit for bit, and gguf-py reads the same."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llorch.formats.gguf.file import Header, read_header
from llorch.formats.gguf.metadata import DECODED_AT_ONCE, StringArray
from llorch.formats.gguf.metadata import Value as Read
from llorch.formats.gguf.tensor_data import TensorData
from tests.models.gguf_writer import (
    ARRAY,
    BOOL,
    CODES,
    F32,
    F64,
    STRING,
    TYPE_F16,
    TYPE_F32,
    TYPE_I32,
    TYPE_Q8_0,
    U8,
    Model,
    Value,
    array,
    one,
)

SCALAR_TYPES = sorted(CODES)
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=10)
# Texts whose lengths or bytes look like the zeros of another text's length.
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "\0", "\0" * 7, "\0" * 9, "a" * 255, "b" * 256, "c" * 257, "\x05" + "\0" * 7, "d" * 70_000]
    ),
)


def scalars(type: int) -> st.SearchStrategy[Any]:
    if type == STRING:
        return TEXTS
    if type == BOOL:
        return st.booleans()
    if type in (F32, F64):
        return st.floats(width=32 if type == F32 else 64)
    bits = 8 * struct.calcsize(CODES[type])
    low = -(1 << bits - 1) if CODES[type].islower() else 0
    return st.integers(low, low + (1 << bits) - 1)


@st.composite
def values(draw: st.DrawFn) -> Value:
    type = draw(st.sampled_from([*SCALAR_TYPES, STRING]))
    if draw(st.booleans()):
        return array(type, draw(st.lists(scalars(type), max_size=20)))
    return one(type, draw(scalars(type)))


@st.composite
def models(draw: st.DrawFn) -> Model:
    model = Model(
        version=draw(st.sampled_from([2, 3])), align=draw(st.sampled_from([1, 8, 32, 64, 4096])), order="<"
    )
    if model.version == 3:
        model.order = draw(st.sampled_from("<>"))
    model.key("general.alignment", one(4, model.align))
    for name, value in draw(st.dictionaries(NAMES, values(), max_size=8)).items():
        model.key(name, value)
    for name in draw(st.lists(NAMES.filter(lambda name: len(name.encode()) < 64), max_size=4, unique=True)):
        type = draw(st.sampled_from([TYPE_F32, TYPE_F16, TYPE_I32, TYPE_Q8_0]))
        weights, width = {TYPE_F32: (1, 4), TYPE_F16: (1, 2), TYPE_I32: (1, 4), TYPE_Q8_0: (32, 34)}[type]
        ne = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        size = math.prod(ne) * width
        model.tensor(
            name, [ne[0] * weights, *ne[1:]], type, data=draw(st.binary(min_size=size, max_size=size))
        )
    return model


def bits(type: int, data: Any) -> Any:
    """A value that compares equal only if its bits are equal."""
    return struct.pack("<" + CODES[type], data) if type in (F32, F64) else data


def as_read(value: Read) -> tuple[int, int, Any]:
    if not isinstance(value.data, StringArray | np.ndarray):
        return value.type, value.element, bits(value.type, value.data)
    return value.type, value.element, [bits(value.element, item) for item in value.data.tolist()]


def as_written(value: Value) -> tuple[int, int, Any]:
    if value.type != ARRAY:
        return value.type, value.type, bits(value.type, value.data)
    return ARRAY, value.element, [bits(value.element, item) for item in value.data]  # type: ignore[union-attr]


@given(model=models())
def test_what_was_written_is_read(model: Model, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = model.write(tmp_path_factory.mktemp("model") / "m.gguf")
    header = read_header(path)
    written = {name.decode(): as_written(value) for name, value in model.keys}
    assert {key: as_read(value) for key, value in header.metadata.items()} == written
    assert list(header.metadata) == list(written)
    assert header.parts[0].byte_order == ("big" if model.order == ">" else "little")
    assert header.parts[0].version == model.version
    assert [(t.name, t.shape, t.type.id) for t in header.tensors.values()] == [
        (row.name, tuple(row.ne[::-1]), row.type) for row in model.tensors
    ]
    with TensorData(header) as data:
        for row, tensor in zip(model.tensors, header.tensors.values(), strict=True):
            assert tensor.offset % model.align == 0
            raw = np.empty(tensor.nbytes, np.uint8)
            data.read_file_into(0, tensor.offset, raw)
            assert raw.tobytes() == row.data


def string_array(texts: list[bytes], order: str, folder: Path) -> StringArray:
    model = (
        Model(order=order).key("before", one(U8, 1)).key("x", array(STRING, texts)).key("after", one(U8, 7))
    )
    header = read_header(model.write(folder / "strings.gguf"))
    assert header.metadata.integer("after") == 7, "the reader stands where the array ends"
    return header.metadata.texts("x")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "lengths",
    [
        [],
        [0],
        [0] * 50_000,
        [5] * 50_000,
        [255] * 3000,
        [256] * 3000,
        [300_000, 3, 0, 300_000, 3],
        [1 << 17, 1, 1],
        [(1 << 17) - 8 - n for n in range(20)],
        list(range(600)) * 2,
    ],
    ids=lambda lengths: f"{len(lengths)}-{lengths[:1]}",
)
def test_strings_are_cut_where_their_lengths_say(lengths: list[int], order: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    texts = [rng.integers(0, 3, n, np.uint8).tobytes() for n in lengths]  # full of NULs
    found = string_array(texts, order, tmp_path)
    assert [found.raw(i) for i in range(len(found))] == texts
    assert found.tolist() == [text.decode() for text in texts]
    assert found.encoded() == b"".join(struct.pack("<Q", len(text)) + text for text in texts)
    assert found.first_invalid() is None


@pytest.mark.parametrize("at", [0, 17, 999])
def test_the_first_string_that_is_not_utf8_is_found(at: int, tmp_path: Path) -> None:
    texts = [b"\xc3\xa9" * (n % 5) for n in range(1000)]
    texts[at], texts[-1] = b"\xc3", b"\xff" if at < 999 else b"\xc3"
    found = string_array(texts, "<", tmp_path)
    assert found.first_invalid() == at
    with pytest.raises(UnicodeDecodeError):
        found[at]


def test_strings_of_characters_of_one_to_four_bytes_are_decoded_together_as_they_are_apart(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(2)
    characters = np.array(list("\0aé▁€😀\U0010ffff"))
    texts = ["".join(rng.choice(characters, rng.integers(6))) for _ in range(DECODED_AT_ONCE * 2 + 3)]
    found = string_array([text.encode() for text in texts], "<", tmp_path)
    assert found.tolist() == texts
    assert [found[i] for i in range(100)] == texts[:100]


def test_a_character_cut_by_the_end_of_a_string_is_not_completed_by_the_next(tmp_path: Path) -> None:
    found = string_array([b"ok", b"\xe2\x82", b"\xac"], "<", tmp_path)
    assert found.first_invalid() == 1
    with pytest.raises(UnicodeDecodeError):
        found.tolist()


def field_of(field: Any) -> list[Any]:
    """Return a value of gguf-py's reader as a list, strings as bytes."""
    if field.types[-1].name == "STRING":
        return [field.parts[index].tobytes() for index in field.data]
    return [item for index in field.data for item in field.parts[index].tolist()]


def value_of(value: Read) -> list[Any]:
    if isinstance(value.data, StringArray):
        return [value.data.raw(index) for index in range(len(value.data))]
    if isinstance(value.data, np.ndarray):
        return list(value.data.tolist())
    return [value.data.encode() if isinstance(value.data, str) else value.data]


def require_same_as_gguf_py(path: Path) -> Header:
    from gguf import GGUFReader

    header, theirs = read_header(path), GGUFReader(path)
    fields = {name: field for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert list(header.metadata) == list(fields)
    for key, value in header.metadata.items():
        assert [int(kind) for kind in fields[key].types] == (
            [value.type] if value.type == value.element else [value.type, value.element]
        )
        assert value_of(value) == field_of(fields[key])
    assert [(t.name, t.shape[::-1], t.type.id, t.offset, t.nbytes) for t in header.tensors.values()] == [
        (t.name, tuple(map(int, t.shape)), int(t.tensor_type), int(t.data_offset), int(t.n_bytes))
        for t in theirs.tensors
    ]
    return header


@pytest.mark.parametrize("name", ["bert-bge", "llama-spm"])
def test_a_vocabulary_reads_as_gguf_py_reads_it(name: str, test_data: Path) -> None:
    header = require_same_as_gguf_py(test_data / "vocab" / f"ggml-vocab-{name}.gguf")
    assert len(header.metadata.texts("tokenizer.ggml.tokens")) > 30_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["falcon", "gpt-2", "llama-bpe", "phi-3", "qwen2", "starcoder"])
def test_a_large_vocabulary_reads_as_gguf_py_reads_it(name: str, test_data: Path) -> None:
    require_same_as_gguf_py(test_data / "vocab" / f"ggml-vocab-{name}.gguf")


@pytest.mark.parametrize("name", ["f16", "q4_k_m"])
def test_a_model_reads_as_gguf_py_reads_it(name: str, test_data: Path) -> None:
    header = require_same_as_gguf_py(test_data / "tiny" / "llama" / f"{name}.gguf")
    assert len(header.tensors) > 20


def test_numbers_are_little_endian_and_read_only_whatever_the_file(tmp_path: Path) -> None:
    for order in "<>":
        model = Model(order=order).key("x", array(F32, [1.5, -2.0]))
        numbers: NDArray[np.floating[Any]] = read_header(model.write(tmp_path / "m.gguf")).metadata.numbers(
            "x"
        )
        assert numbers.dtype == np.dtype("<f4")
        assert not numbers.flags.writeable
