"""Dangerous file names from a server are refused, by the rules of both POSIX and Windows."""

from __future__ import annotations

import ntpath
import os.path
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.sources.errors import UnsafeName
from llorch.sources.select.names import fault_of, require_distinct, require_safe
from tests.hub import EQUAL_UNDER_CASEFOLD, HOSTILE_NAMES

HONEST = [
    "model.gguf",
    "BF16/Qwen3-235B-A22B-BF16-00001-of-00010.gguf",
    "onnx/decoder model.onnx_data",
    "tokenizer/tiktoken.model",
    "résumé.md",
    ".gitattributes",
    "a..b.gguf",
    "cli.gguf",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_hostile_name_is_refused_on_one_line(name: str) -> None:
    with pytest.raises(UnsafeName) as raised:
        require_safe(name, "owner/repo")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a/",
        "a/../b",
        "a/./b",
        "aux",
        "COM1.txt",
        "lpt9",
        "nul.tar.gz",
        "x:y",
        "x\x7f",
        "x\ud800",
        "a?b",
        "a*",
    ],
)
def test_other_names_that_no_model_needs_are_refused(name: str) -> None:
    assert fault_of(name)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_name_is_taken_as_it_is(name: str) -> None:
    assert require_safe(name, "owner/repo") == name


@given(
    st.text(st.characters(codec="utf-8"), max_size=40)
    | st.from_regex(r"([a-z.\\/: ]|\.\.){1,12}", fullmatch=True)
)
def test_what_is_taken_stays_in_its_folder_on_both_systems(name: str) -> None:
    if fault_of(name):
        return
    assert not PurePosixPath(name).is_absolute()
    assert ".." not in PurePosixPath(name).parts
    assert os.path.normpath(name) == name
    windows = PureWindowsPath(name)
    assert not windows.is_absolute()
    assert not windows.drive
    assert ntpath.normpath(name).replace("\\", "/") == name


def test_two_names_that_fold_into_one_are_refused() -> None:
    with pytest.raises(UnsafeName, match=r"'Model.gguf' and 'model.gguf'"):
        require_distinct(EQUAL_UNDER_CASEFOLD, "owner/repo")
    require_distinct(["a.gguf", "b.gguf"], "owner/repo")
    with pytest.raises(UnsafeName):
        require_distinct(["caf\u00e9", "cafe\u0301"], "owner/repo")
