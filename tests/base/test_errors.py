"""Untrusted text is printed in one bounded line, and an error says where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.base.printable import printable


@given(text=st.one_of(st.text(max_size=200), st.binary(max_size=400)), most=st.integers(0, 100))
def test_printable_text_is_one_line_of_bounded_length(text: str | bytes, most: int) -> None:
    line = printable(text, most)
    assert line.isprintable()
    assert len(line) <= most + 3
    assert line[0] == line[-1] == "'"


@given(text=st.text(max_size=60))
def test_different_texts_print_differently(text: str) -> None:
    line = printable(text, 1000, quoted=False)
    assert line.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain é 漢", "'plain é 漢'"),
        ("a\nb", r"'a\nb'"),
        ("\x1b]0;owned\x07", r"'\x1b]0;owned\x07'"),
        ("a\\b", r"'a\\b'"),
        ("\u202e\u2028", r"'\u202e\u2028'"),
        (b"ok \xff", r"'ok \xff'"),
        (b"\xc3\xa9\xc3", r"'é\xc3'"),
        ("\ud800", r"'\ud800'"),
        (Path("a/b\udcff"), r"'a/b\xff'"),
        ("x" * 81, "'" + "x" * 80 + "…'"),
        ("x" * 80, "'" + "x" * 80 + "'"),
        (b"x" * 10_000, "'" + "x" * 80 + "…'"),
        ("\n" * 41, "'" + r"\n" * 40 + "…'"),
    ],
    ids=repr,
)
def test_text_prints_as(text: str | bytes | Path, line: str) -> None:
    assert printable(text) == line


def test_an_error_says_file_place_finding_byte_and_advice() -> None:
    error = MalformedInput("is 3", where="key 'a'", path="b\n.gguf", offset=7, hint="write it again")
    assert str(error) == r"b\n.gguf: key 'a': is 3 (at byte 7); write it again"
    assert str(UnsupportedInput("is odd")) == "is odd"


def test_the_first_file_named_stays() -> None:
    error = InputError("is odd").in_file("inner").in_file("outer")
    assert str(error) == "inner: is odd"
