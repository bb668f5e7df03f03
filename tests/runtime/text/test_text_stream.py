"""Streaming text: whole characters, stop strings withheld, and in total the tokenizer's decoding of all tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llorch.runtime.text.text_stream import KEPT_TOKENS, TextStream


def bytes_tokenizer() -> Tokenizer:
    """Byte-level BPE without merges: every byte is a token, so every multi-byte character is split."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: id for id, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentencepiece_tokenizer() -> Tokenizer:
    """Pieces with ▁ for spaces, and byte tokens for missing characters; the first space is stripped."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁a", "b"]
    tokenizer = Tokenizer(
        models.BPE({piece: id for id, piece in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def ids_of(tokenizer: Tokenizer, *tokens: str) -> list[int]:
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]


def pieces(tokenizer: Tokenizer, ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(tokenizer, stop)
    return [*(stream.push(id) for id in ids), stream.finish()]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_the_pieces_of_cut_characters_are_the_text_and_never_half_a_character(text: str) -> None:
    tokenizer = bytes_tokenizer()
    given = pieces(tokenizer, tokenizer.encode(text).ids)
    assert "".join(given) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in given)


def test_a_long_text_is_the_same_when_old_tokens_are_forgotten() -> None:
    tokenizer, text = bytes_tokenizer(), "Größe 世界 🙂 " * KEPT_TOKENS
    assert "".join(pieces(tokenizer, tokenizer.encode(text).ids)) == text


def test_only_the_first_piece_of_sentencepiece_loses_its_space() -> None:
    tokenizer = sentencepiece_tokenizer()
    a, b = ids_of(tokenizer, "▁a", "b")
    ids = [a, b, a, a, b] * KEPT_TOKENS
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


def test_byte_tokens_wait_until_their_character_is_whole() -> None:
    tokenizer = sentencepiece_tokenizer()
    ids = ids_of(tokenizer, *(f"<0x{byte:02X}>" for byte in "世".encode()))
    assert pieces(tokenizer, ids) == ["", "", "世", ""]


def test_a_character_that_never_ends_is_replaced_at_the_end() -> None:
    tokenizer = bytes_tokenizer()
    ids = tokenizer.encode("a世").ids[:-1]
    assert "".join(pieces(tokenizer, ids)) == "a\ufffd"


def test_a_possible_beginning_of_a_stop_string_is_withheld() -> None:
    tokenizer = bytes_tokenizer()
    ids = tokenizer.encode("one\n\none\nUser: x").ids
    given = pieces(tokenizer, ids, ("\nUser:",))
    assert "".join(given) == "one\n\none"
    assert given[3] == ""  # the first line's end may begin the stop string
    assert given[4] == "\n"  # but it does not; the second may


@settings(deadline=None)
@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    tokenizer = bytes_tokenizer()
    given = "".join(pieces(tokenizer, tokenizer.encode(text).ids, tuple(stop)))
    ends = [text.find(one) + len(one) for one in stop if one in text]
    first = min(ends, default=None)
    starts = [text.find(one) for one in stop if one in text and text.find(one) + len(one) == first]
    assert given == (text if first is None else text[: min(starts)])


def test_no_text_follows_a_stop_string() -> None:
    tokenizer = bytes_tokenizer()
    stream = TextStream(tokenizer, ("b",))
    assert [stream.push(id) for id in tokenizer.encode("abc").ids] == ["a", "", ""]
    assert stream.finish() == ""
    assert stream.stopped_by == "b"


@pytest.mark.parametrize("stop", [(), ("",)])
def test_without_a_stop_string_nothing_is_held(stop: tuple[str, ...]) -> None:
    tokenizer = bytes_tokenizer()
    assert pieces(tokenizer, tokenizer.encode("abc").ids, stop) == ["a", "b", "c", ""]
