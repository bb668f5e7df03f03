"""The page about tokenizers agrees with the code."""

from __future__ import annotations

from llorch.formats.tokenizer.pretokenizers import PRETOKENIZERS, REFUSED
from tests.formats.tokenizer.tokenizers_page import PAGE, page


def test_the_table_of_pretokenizers_is_the_codes() -> None:
    assert PAGE.read_text() == page()


def test_a_name_is_supported_or_refused_and_none_is_both() -> None:
    assert not PRETOKENIZERS.keys() & REFUSED.keys()
    assert len(PRETOKENIZERS) + len(REFUSED) == 92  # what llama.cpp's build 11434 knows
