"""Every malformed header of the corpus is refused in one line that names the fault; the valid ones are read."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.formats.gguf.file import read_header
from llorch.formats.gguf.header import Limits
from tests.corpus import controls, header, split, tensor
from tests.corpus.case import Case
from tests.models.gguf_writer import STRING, U8, U32, Model, array, one
from tests.models.tiny import tiny_llama

# The reader accepts a tensor named ../../../../tmp/escaped like any other; the plan refuses it as unknown.
LEFT_TO_THE_PLAN = "name-dotdot"
CASES = [
    case for module in (header, tensor, split) for case in module.cases() if case.name != LEFT_TO_THE_PLAN
]


def refusal(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_header(path, limits)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}-{case.name}")
def test_a_malformed_file_is_refused(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    message = refusal(path)
    named = path if case.group != "split" else path.parent  # a message may have to name the other parts
    assert not case.lacking(message.replace(str(named), "")), message


@pytest.mark.parametrize("case", controls.cases(), ids=lambda case: case.name)
def test_a_good_file_is_read(case: Case, tmp_path: Path) -> None:
    assert len(read_header(case.write(tmp_path)).tensors) == 12 - (case.name == "tied")


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    model = (
        Model()
        .key("x.names", array(STRING, ["a", "bc" * 200, "d"]))
        .key("x.last", array(STRING, ["e", "fgh"]))
    )
    whole = model.build()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole)
    assert len(read_header(path).metadata) == 2
    for length in range(model.marks["x.last:end"]):
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(keys=23), "key count 24"),
        (Limits(tensors=11), "tensor count 12"),
        (Limits(key_bytes=20), "limit 20"),
        (Limits(name_bytes=10), "limit 10"),
        (Limits(string_bytes=30), "limit 30"),
        (Limits(strings=260), "limit is 260"),
        (Limits(header_bytes=2000), "header limit"),
        (Limits(alignment=32), "up to 32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_limit_is_passed(limits: Limits, what: str, tmp_path: Path) -> None:
    model = tiny_llama().key("general.alignment", one(U32, 64)).drop("general.name")
    model.align = 64
    path = model.write(tmp_path / "m.gguf")
    assert len(read_header(path).metadata) == 24
    assert what in refusal(path, limits)


def test_an_array_of_bytes_may_not_pass_the_header_limit(tmp_path: Path) -> None:
    path = Model().key("x", array(U8, [7] * 3000)).write(tmp_path / "m.gguf")
    assert "key 'x'" in refusal(path, Limits(header_bytes=2048))


def test_bytes_after_the_last_tensor_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_llama().build() + b"appended")
    assert len(read_header(path).tensors) == 12


def test_the_last_padding_may_be_missing(tmp_path: Path) -> None:
    model = tiny_llama().tensor("x", [1], 0, data=b"\0\0\x80\x3f")
    path = tmp_path / "m.gguf"
    path.write_bytes(model.build()[:-28])
    assert "x" in read_header(path).tensors
    path.write_bytes(model.build()[:-29])
    assert "tensor 'x'" in refusal(path)


@pytest.mark.parametrize("version", [1, 2])
def test_a_big_endian_file_of_an_older_version_is_refused(version: int, tmp_path: Path) -> None:
    model = tiny_llama()
    model.order, model.version = ">", version
    assert "big-endian" in refusal(model.write(tmp_path / "m.gguf"))


def test_an_error_in_a_big_endian_file_says_so(tmp_path: Path) -> None:
    model = Model(order=">", n_keys=3)
    path = tmp_path / "m.gguf"
    path.write_bytes(model.build() + struct.pack("<Q", 5) + bytes(100))
    assert "big-endian" in refusal(path)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_file_that_is_not_regular_is_refused_without_blocking(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert "regular file" in refusal(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "m.gguf")


def test_a_removed_type_is_unsupported_and_a_wrong_count_malformed(tmp_path: Path) -> None:
    removed = tiny_llama().change("output.weight", type=4)
    with pytest.raises(UnsupportedInput, match=r"'output\.weight': has the type Q4_2"):
        read_header(removed.write(tmp_path / "removed.gguf"))
    wrong = tiny_llama()
    wrong.n_keys = 100_000
    with pytest.raises(MalformedInput):
        read_header(wrong.write(tmp_path / "wrong.gguf"))


def test_the_error_carries_where_it_is(tmp_path: Path) -> None:
    model = tiny_llama().change("blk.0.attn_q.weight", type=99)
    path = model.write(tmp_path / "m.gguf")
    with pytest.raises(UnsupportedInput) as caught:
        read_header(path)
    error = caught.value
    assert (error.where, error.path) == ("tensor 'blk.0.attn_q.weight'", path)
    assert error.offset == model.marks["blk.0.attn_q.weight:shape"]
