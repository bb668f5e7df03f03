"""A getter returns the stored value if its type matches, or an error that names the key and both types."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.errors import MalformedInput
from llorch.formats.gguf.file import read_header
from llorch.formats.gguf.metadata import Metadata, Value, ValueType
from tests.models.gguf_writer import (
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Model,
    array,
    one,
)

Getter = Callable[[Metadata, str], Any]


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Metadata:
    """Metadata with one key of each type."""
    model = Model()
    for key, value in {
        "text": one(STRING, "é"),
        "u8": one(U8, 200),
        "u16": one(U16, 1),
        "u32": one(U32, 1),
        "u64": one(U64, (1 << 64) - 1),
        "i8": one(I8, -1),
        "i16": one(I16, -1),
        "i32": one(I32, -1),
        "i64": one(I64, -1 << 63),
        "f32": one(F32, 1e-5),
        "f64": one(F64, 1e-5),
        "nan": one(F32, math.nan),
        "inf": one(F64, math.inf),
        "bool": one(BOOL, True),
        "texts": array(STRING, ["a", ""]),
        "bytes": array(U8, [1, 2]),
        "integers": array(I32, [-1, 2]),
        "floats": array(F32, [0.5, math.nan]),
        "bools": array(BOOL, [1, 0]),
    }.items():
        model.key(key, value)
    return read_header(model.write(tmp_path_factory.mktemp("metadata") / "m.gguf")).metadata


GETTERS: dict[str, tuple[Getter, dict[str, Any]]] = {
    "text": (Metadata.text, {"text": "é"}),
    "integer": (
        Metadata.integer,
        {
            "u8": 200,
            "u16": 1,
            "u32": 1,
            "u64": (1 << 64) - 1,
            "i8": -1,
            "i16": -1,
            "i32": -1,
            "i64": -1 << 63,
        },
    ),
    "number": (
        Metadata.number,
        {"f32": struct.unpack("<f", struct.pack("<f", 1e-5))[0], "f64": 1e-5, "u8": 200.0},
    ),
    "decimal": (Metadata.decimal, {"f32": 1e-5, "f64": 1e-5, "u8": 200.0}),
    "flag": (Metadata.flag, {"bool": True}),
    "texts": (Metadata.texts, {"texts": ["a", ""]}),
    "integers": (Metadata.integers, {"integers": [-1, 2], "bytes": [1, 2], "bools": [1, 0]}),
    "numbers": (Metadata.numbers, {"floats": [0.5, math.nan]}),
}
INTEGER_KEYS = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64")
READ = [(getter, key) for getter, (_, keys) in GETTERS.items() for key in keys]


@pytest.mark.parametrize(("getter", "key"), READ)
def test_a_value_is_what_was_stored(getter: str, key: str, metadata: Metadata) -> None:
    get, expected = GETTERS[getter]
    found = get(metadata, key)
    assert repr(found.tolist() if hasattr(found, "tolist") else found) == repr(expected[key])


@pytest.mark.parametrize("getter", GETTERS)
def test_a_value_of_another_type_is_refused(getter: str, metadata: Metadata) -> None:
    get, expected = GETTERS[getter]
    served = set(expected) | (set(INTEGER_KEYS) if getter in ("number", "decimal") else set())
    for key in set(metadata) - served:
        with pytest.raises(MalformedInput, match=f"key '{key}'"):
            get(metadata, key)


@pytest.mark.parametrize("getter", GETTERS)
def test_a_missing_key_is_named_unless_there_is_a_default(getter: str, metadata: Metadata) -> None:
    get = GETTERS[getter][0]
    with pytest.raises(MalformedInput, match="key 'absent': is missing"):
        get(metadata, "absent")
    assert getattr(metadata, getter)("absent", None) is None
    assert getattr(metadata, getter)("absent", "x") == "x"


@pytest.mark.parametrize("key", ["nan", "inf"])
def test_a_number_that_is_not_finite_is_refused(key: str, metadata: Metadata) -> None:
    with pytest.raises(MalformedInput, match=f"key '{key}': is (nan|inf), not finite"):
        metadata.number(key)


def test_an_error_says_which_type_was_found(metadata: Metadata) -> None:
    with pytest.raises(MalformedInput, match="has type array of f32, not an integer"):
        metadata.integer("floats")


@given(written=st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-1000, max_value=1000))
def test_a_decimal_of_six_digits_or_fewer_comes_back_as_it_was_written(written: Any) -> None:
    number = float(f"{float(written):.6g}")  # every decimal of six digits survives a float32
    stored = struct.unpack("<f", struct.pack("<f", number))[0]
    metadata = Metadata({"x": Value("x", ValueType.F32, ValueType.F32, 0, stored)})
    assert metadata.decimal("x") == number
    assert np.float32(metadata.decimal("x")) == np.float32(stored)


def test_keys_have_the_order_of_the_file(metadata: Metadata) -> None:
    assert list(metadata)[:3] == ["text", "u8", "u16"]
    assert len(metadata) == 19
    assert "absent" not in metadata


def test_a_string_that_is_not_utf8_is_refused_where_it_breaks(tmp_path: Path) -> None:
    model = Model().key("x", one(STRING, b"ok\xff"))
    path = model.write(tmp_path / "m.gguf")
    with pytest.raises(MalformedInput, match="key 'x': is not UTF-8") as caught:
        read_header(path)
    assert caught.value.offset == model.marks["x:end"] - 1
