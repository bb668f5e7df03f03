"""A split set reads as the unsplit model, whichever part is opened; parts that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.base.errors import InputError, MalformedInput
from llorch.formats.gguf.file import read_header
from llorch.formats.gguf.tensor_data import TensorData
from tests.corpus.split import named, split_parts
from tests.models.gguf_writer import F32, I32, STRING, U16, U32, Model, array, one
from tests.models.tiny import tiny_llama


def written(folder: Path, parts: list[Model]) -> list[Path]:
    files = named(parts)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


@pytest.mark.parametrize("count", [2, 3, 12])
@pytest.mark.parametrize("named_part", [0, 1, -1])
def test_a_set_reads_as_the_whole_model(count: int, named_part: int, tmp_path: Path) -> None:
    whole = read_header(tiny_llama().write(tmp_path / "whole.gguf"))
    paths = written(tmp_path, split_parts(count))
    header = read_header(paths[named_part])
    assert [part.path for part in header.parts] == paths
    assert list(header.tensors) == list(whole.tensors)
    assert set(header.metadata) - set(whole.metadata) == {"split.no", "split.count", "split.tensors.count"}
    with TensorData(header) as data, TensorData(whole) as same:
        for name, tensor in header.tensors.items():
            assert data.read(tensor).tobytes() == same.read(whole.tensors[name]).tobytes()


def test_a_first_part_may_hold_keys_only(tmp_path: Path) -> None:
    parts = split_parts(2)
    parts[1].tensors = parts[0].tensors + parts[1].tensors
    parts[0].tensors = []
    header = read_header(written(tmp_path, parts)[0])
    assert len(header.tensors) == 12
    assert {tensor.part for tensor in header.tensors.values()} == {1}


def test_each_part_has_its_own_alignment(tmp_path: Path) -> None:
    parts = split_parts(2)
    parts[1].key("general.alignment", one(U32, 128)).align = 128
    header = read_header(written(tmp_path, parts)[0])
    assert {t.offset % 128 for t in header.tensors.values() if t.part == 1} == {0}


@pytest.mark.parametrize("count", [0, 1])
def test_a_file_that_says_one_part_is_whole_whatever_its_name(count: int, tmp_path: Path) -> None:
    path = tmp_path / "m-00002-of-00003.gguf"
    tiny_llama().key("split.count", one(U16, count)).write(path)
    assert len(read_header(path).tensors) == 12


def test_a_file_without_the_key_is_whole_whatever_its_name(tmp_path: Path) -> None:
    assert len(read_header(tiny_llama().write(tmp_path / "m-00001-of-00003.gguf")).parts) == 1


@pytest.mark.parametrize(
    "name", ["model.gguf", "m-1-of-2.gguf", "m-00001-of-00002.gguf.bak", "m-00003-of-00002.gguf"]
)
def test_a_part_under_another_name_is_refused(name: str, tmp_path: Path) -> None:
    paths = written(tmp_path, split_parts(2))
    with pytest.raises(MalformedInput, match="name"):
        read_header(paths[0].rename(tmp_path / name))


def test_parts_under_each_other_s_names_are_refused(tmp_path: Path) -> None:
    parts = split_parts(2)
    with pytest.raises(MalformedInput, match=r"split\.no"):
        read_header(written(tmp_path, parts[::-1])[0])


@pytest.mark.parametrize("missing", ["split.no", "split.tensors.count"])
@pytest.mark.parametrize("part", [0, 1])
def test_a_part_without_its_number_is_refused(missing: str, part: int, tmp_path: Path) -> None:
    parts = split_parts(2)
    parts[part].drop(missing)
    paths = written(tmp_path, parts)
    with pytest.raises(MalformedInput, match=f"{missing}.*is missing") as caught:
        read_header(paths[1 - part])
    assert caught.value.path == paths[part]


def test_a_later_part_may_repeat_keys(tmp_path: Path) -> None:
    parts = split_parts(2)
    names, nan = array(STRING, ["a", "b\0c"]), one(F32, float("nan"))
    for part in parts:
        part.key("general.architecture", one(STRING, "llama")).key("x.names", names).key("x.nan", nan)
    assert len(read_header(written(tmp_path, parts)[1]).tensors) == 12


@pytest.mark.parametrize(
    "value",
    [
        array(STRING, ["a", "c"]),
        array(STRING, ["ab", ""]),
        array(STRING, ["a"]),
        array(I32, [1, 2]),
        one(STRING, "a"),
    ],
    ids=repr,
)
def test_a_later_part_with_other_keys_is_refused(value: object, tmp_path: Path) -> None:
    parts = split_parts(2)
    parts[0].key("x.names", array(STRING, ["a", "b"]))
    parts[1].key("x.names", value)  # type: ignore[arg-type]
    with pytest.raises(MalformedInput, match=r"00002-of-00002\.gguf: part 2 has 'x\.names'"):
        read_header(written(tmp_path, parts)[0])


def test_a_key_that_only_a_later_part_has_is_refused(tmp_path: Path) -> None:
    parts = split_parts(2)
    parts[1].key("llama.rope.scaling.factor", one(F32, 8.0))
    with pytest.raises(MalformedInput, match=r"'llama\.rope\.scaling\.factor'"):
        read_header(written(tmp_path, parts)[0])


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = written(tmp_path, split_parts(3))
    paths[0].unlink()
    with pytest.raises(MalformedInput, match=r"part 1 of 3 is missing: 'm-00001-of-00003\.gguf'"):
        read_header(paths[2])


def test_a_part_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    paths = written(tmp_path, split_parts(2))
    paths[1].unlink()
    paths[1].mkdir()
    with pytest.raises(InputError, match=r"00002-of-00002\.gguf: is not a regular file"):
        read_header(paths[0])
