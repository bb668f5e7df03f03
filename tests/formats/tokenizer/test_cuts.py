"""all_cuts finds the same cuts as a search of every place, for any tokens, also with colliding hashes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llorch.formats.tokenizer import cuts
from llorch.formats.tokenizer.cuts import all_cuts

Rows = list[tuple[int, ...]]

few_letters = st.lists(st.text("ab▁\0😀", max_size=6), unique=True, max_size=40)
any_letters = st.lists(st.text(max_size=12), unique=True, max_size=40)


def found(tokens: list[str]) -> Rows:
    return [*zip(*(column.tolist() for column in all_cuts(tokens)), strict=True)]


def looked_up(tokens: list[str]) -> Rows:
    """Return every cut of every token by dict lookups."""
    return [
        (tokens.index(token[:cut]), tokens.index(token[cut:]), made)
        for made, token in enumerate(tokens)
        for cut in range(1, len(token))
        if token[:cut] in tokens and token[cut:] in tokens
    ]


def thue_morse(length: int, first: str, second: str) -> str:
    """A text whose hash is that of the same text with its letters swapped, for any base, if it has 2,048 letters."""
    return "".join((first, second)[index.bit_count() % 2] for index in range(length))


@settings(deadline=None)
@given(few_letters | any_letters)
@example([])
@example(["", "a"])
@example(["a", "aa", "aaa", "aaaa"])
def test_every_cut_is_found_and_no_other(tokens: list[str]) -> None:
    assert found(tokens) == looked_up(tokens)


@settings(deadline=None)
@given(few_letters)
def test_blocks_of_tokens_make_no_difference(tokens: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cuts, "TOKENS_AT_ONCE", 3)
        assert found(tokens) == looked_up(tokens)


def test_colliding_tokens_are_distinguished() -> None:
    one, other = thue_morse(2048, "a", "b"), thue_morse(2048, "b", "a")
    tokens = [one, other, "c", f"{one}c", f"c{other}"]
    assert found(tokens) == looked_up(tokens) == [(0, 2, 3), (2, 1, 4)]


def test_a_part_with_the_hash_of_a_token_but_another_text_is_no_token() -> None:
    one, other = thue_morse(2048, "a", "b"), thue_morse(2048, "b", "a")
    assert found([one, "c", f"{other}c", f"{one}c"]) == [(0, 1, 3)]


def test_many_one_letter_tokens_do_not_fall_into_one_bucket() -> None:
    """Else the search would go through all of them for each cut."""
    letters = np.arange(0x4E00, 0x9C20, dtype=np.uint32)
    hashing = cuts._RollingHash(len(letters))
    starts = np.arange(len(letters))
    hashes = hashing.of_parts(hashing.sums(letters), starts, starts + 1)
    buckets = cuts._HashIndex(hashes)._bucket(hashes)
    assert np.bincount(buckets).max() <= 8
