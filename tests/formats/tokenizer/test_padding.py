"""Tokens that only pad the embedding are left out of tokenizer.json, and all others stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.formats.tokenizer import TokenizerFiles, build_tokenizer, load_tokenizer
from tests.formats.tokenizer.vocabularies import Given, vocabulary_metadata

T = "tokenizer.ggml."
WITHOUT = "tokenizer.json is without them"


def built(
    tmp_path: Path, more: dict[str, int], merges: tuple[str, ...] = (), **keys: Given
) -> TokenizerFiles:
    """Build a vocabulary of letters and `more`: text → type."""
    tokens = [*"abc", "ab"]
    return build_tokenizer(
        vocabulary_metadata(
            tmp_path / "v.gguf",
            {
                "general.architecture": "llama",
                f"{T}model": "gpt2",
                f"{T}pre": "gpt-2",
                f"{T}tokens": [*tokens, *more],
                f"{T}token_type": [1] * len(tokens) + list(more.values()),
                f"{T}merges": ["a b", *merges],
                **{f"{T}{key}": value for key, value in keys.items()},
            },
        )
    )


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({"[PAD4]": 5, "[PAD5]": 5}, 4),
        ({"<x>": 3, "[PAD5]": 5}, 5),
        ({"[PAD4]": 5, "<x>": 3}, 6),  # in the middle: it stays
        ({"[PAD4]": 1, "[PAD5]": 3}, 6),  # not padding, despite its text
        ({}, 4),
    ],
)
def test_unused_tokens_at_the_end_are_left_out(tmp_path: Path, more: dict[str, int], size: int) -> None:
    files = built(tmp_path, more)
    assert files.size == size
    assert load_tokenizer(files).get_vocab_size() == size
    left_out = 4 + len(more) - size
    assert [note for note in files.notes if "fill up" in note] == (
        [f"{left_out} tokens from id {size} on only fill up the rows of the embedding: {WITHOUT}"]
        if left_out
        else []
    )


def test_an_unused_token_that_a_key_names_stays_and_those_before_it(tmp_path: Path) -> None:
    files = built(tmp_path, {"[PAD4]": 5, "[PAD5]": 5, "[PAD6]": 5}, padding_token_id=5)
    assert files.size == 6
    assert files.special_tokens_map["pad_token"] == "[PAD5]"


def test_an_unused_token_that_a_merge_makes_stays(tmp_path: Path) -> None:
    assert built(tmp_path, {"abc": 5, "[PAD5]": 5}, merges=("ab c",)).size == 5


def test_unused_tokens_in_the_middle_are_listed(tmp_path: Path) -> None:
    assert built(tmp_path, {"<u>": 5, "<x>": 3, "[PAD6]": 5}).unused_ids == [4]
