"""Every inconsistency of a safetensors file or index is refused, in one line that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llorch.base.errors import InputError, MalformedInput
from llorch.formats.gguf.tensor_data import TensorData
from llorch.formats.safetensors import INDEX, SINGLE, lay_out, read_safetensors

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def row(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def file(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated"),
    "a length cut": (b"\x01\0\0", "truncated"),
    "a header cut": (file({"a": row(0, 4)})[:-3], "truncated"),
    "a length of 2^63": (b"\0\0\0\0\0\0\0\x80{}", "limit"),
    "a length past the limit": ((65 << 20).to_bytes(8, "little") + b"{}", "limit"),
    "no JSON": (file(b"{]"), "JSON"),
    "not UTF-8": (file(b'{"\xff": 1}'), "UTF-8"),
    "a list": (file(b"[]"), "begins with"),
    "a blank first": (file(b' {"a": {}}'), "begins with"),
    "a number of 5000 digits": (file(b'{"a": ' + b"9" * 5000 + b"}"), "JSON"),
    "nested too deep": (file(DEEP), "deep"),
    "a name twice": (file(b'{"a": {}, "b": {}, "b": {}}'), "'b' twice"),
    "a shape twice": (
        file(b'{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,2]}}', bytes(2)),
        "'shape' twice",
    ),
    "a hole first": (file({"a": row(1, 2)}, bytes(2)), "hole"),
    "a hole between": (file({"a": row(0, 1), "b": row(2, 3)}, bytes(3)), "hole"),
    "an overlap": (file({"a": row(0, 2), "b": row(1, 3)}, bytes(3)), "overlaps tensor 'a'"),
    "the same place": (file({"a": row(0, 2), "b": row(0, 2)}, bytes(2)), "overlaps"),
    "bytes after": (file({"a": row(0, 2)}, bytes(3)), "follow"),
    "data cut": (file({"a": row(0, 4)}, bytes(3)), "truncated"),
    "a wrong shape": (file({"a": row(0, 4, [3])}, bytes(4)), "'a': (U8, 3) needs 3 bytes"),
    "a wrong dtype": (file({"a": row(0, 4, [4], "F16")}, bytes(4)), "8 bytes"),
    "half a byte": (file({"a": row(0, 1, [3], "F4")}, bytes(1)), "1.5 bytes"),
    "an unknown dtype": (file({"a": row(0, 4, [4], "F5")}, bytes(4)), "dtype 'F5'"),
    "a negative size": (file({"a": row(0, 4, [-4])}, bytes(4)), "shape"),
    "a bool size": (file({"a": row(0, 1, [True])}, bytes(1)), "shape"),
    "a float size": (file({"a": row(0, 1, [1.0])}, bytes(1)), "shape"),  # type: ignore[list-item]
    "65 sizes": (file({"a": row(0, 1, [1] * 65)}, bytes(1)), "shape"),
    "a size that wraps": (file({"a": row(0, 8, [1 << 62, 1 << 62, 4])}, bytes(8)), "needs"),
    "backwards": (file({"a": row(4, 0, [0])}, bytes(4)), "span -4"),
    "one offset": (file({"a": row(0, 1) | {"data_offsets": [0]}}, bytes(1)), "offsets"),
    "no shape": (file({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, bytes(1)), "shape"),
    "no row": (file({"a": 3}), "object"),
    "no name": (file({"": row(0, 1)}, bytes(1)), "empty"),
    "an escape": (file({"\x1b[2J": row(0, 1)}, bytes(1)), "printable"),
    "half a surrogate pair": (file(b'{"__metadata__": {"format": "\\ud800"}}'), "UTF-8"),
    "NaN": (file(b'{"__metadata__": {"format": NaN}}'), "NaN is no JSON number"),
    "a number as metadata": (file({"__metadata__": {"format": 1}}), "__metadata__"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_is_refused_that_has(lie: str, tmp_path: Path) -> None:
    content, words = LIES[lie]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_safetensors(path)
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < 600


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A folder of two shards, with `a` in the first, `b` and `c` in the second."""
    layout = lay_out([("a", "U8", (3,)), ("b", "U8", (2,)), ("c", "U8", (2,))], 4)
    for part in layout.files:
        (tmp_path / part.name).write_bytes(part.header + bytes(4 if part.name == TWO else 3))
    assert layout.index is not None
    (tmp_path / INDEX).write_bytes(layout.index)
    return tmp_path


def test_shards_are_read_together(sharded: Path) -> None:
    stored = read_safetensors(sharded)
    assert {name: (t.part, t.nbytes) for name, t in stored.tensors.items()} == {
        "a": (0, 3),
        "b": (1, 2),
        "c": (1, 2),
    }


def index(total: object = 7, **weight_map: str) -> bytes:
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}).encode()


INDEX_LIES: dict[str, tuple[bytes, str]] = {
    "a shard that is not there": (index(a=ONE, b="model-00003-of-00002.safetensors"), "not there"),
    "a path out of the folder": (index(a=ONE, b="../b.safetensors"), "bare name"),
    "an absolute path": (index(a=ONE, b="/tmp/b.safetensors"), "bare name"),
    "a name with a newline": (index(a=ONE, b=TWO + "\n"), "bare name"),
    "another kind of file": (index(a=ONE, b="pytorch_model.bin"), "bare name"),
    "a tensor too few": (index(a=ONE, b=TWO), "'c'"),
    "a tensor too many": (index(a=ONE, b=TWO, c=TWO, d=TWO), "'d'"),
    "a tensor in the other shard": (index(a=ONE, b=ONE, c=TWO), "disagrees"),
    "a wrong total": (index(8, a=ONE, b=TWO, c=TWO), "total_size"),
    "no total": (json.dumps({"metadata": {}, "weight_map": {"a": ONE, "b": TWO}}).encode(), "total_size"),
    "no metadata": (json.dumps({"weight_map": {"a": ONE, "b": TWO}}).encode(), "metadata"),
    "no weight_map": (json.dumps({"metadata": {"total_size": 7}}).encode(), "weight_map"),
    "a tensor twice": (index(a=ONE, b=TWO).replace(b'"b"', b'"a"'), "'a' twice"),
    "a number for a file": (
        json.dumps({"metadata": {"total_size": 7}, "weight_map": {"a": 1}}).encode(),
        "bare",
    ),
}


@pytest.mark.parametrize("lie", INDEX_LIES)
def test_an_index_is_refused_that_has(lie: str, sharded: Path) -> None:
    content, words = INDEX_LIES[lie]
    (sharded / INDEX).write_bytes(content)
    with pytest.raises(MalformedInput, match=INDEX.replace(".", r"\.")) as caught:
        read_safetensors(sharded)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_tensor_in_two_shards_is_refused(sharded: Path) -> None:
    (sharded / TWO).write_bytes(file({"a": row(0, 3), "b": row(3, 7)}, bytes(7)))
    with pytest.raises(MalformedInput, match="disagrees with its shards about 'a'"):
        read_safetensors(sharded)


@pytest.mark.parametrize("name", [INDEX, TWO])
def test_a_link_in_a_folder_is_refused(sharded: Path, name: str) -> None:
    (sharded / name).rename(sharded / "elsewhere")
    (sharded / name).symlink_to("elsewhere")
    with pytest.raises(MalformedInput, match=f"{name}: is a symbolic link"):
        read_safetensors(sharded)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match="neither"):
        read_safetensors(tmp_path)


def test_a_folder_with_both_is_refused(sharded: Path) -> None:
    (sharded / SINGLE).write_bytes(file({}))
    with pytest.raises(MalformedInput, match="differ on which"):
        read_safetensors(sharded)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / SINGLE).mkdir()
    with pytest.raises(MalformedInput, match="regular"):
        read_safetensors(tmp_path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_safetensors(tmp_path / "x.safetensors")


def shrink(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace(path: Path) -> None:
    copy = path.with_suffix(".new")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


@pytest.mark.parametrize("change", [shrink, replace])
def test_a_file_that_changed_after_its_header_was_read_is_noticed(
    sharded: Path, change: Callable[[Path], None]
) -> None:
    stored = read_safetensors(sharded)
    change(sharded / TWO)
    with pytest.raises(OSError, match="changed"), TensorData(stored):
        pass
