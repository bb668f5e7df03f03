"""What a tokenizer puts before a text by itself, and that it is there once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def leading_ids(tokenizer: Tokenizer) -> list[int]:
    """The special tokens that it puts before every text, such as BOS; empty where it puts none."""
    added: list[int] = tokenizer.encode("a").ids
    plain: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    ends = range(len(added) - len(plain) + 1)
    return added[: next((start for start in ends if added[start : start + len(plain)] == plain), 0)]


def encode_rendered(tokenizer: Tokenizer, rendered: str) -> list[int]:
    """Ids of a prompt that a template has written: what the tokenizer leads with stands there exactly once.

    Some templates write BOS and some leave it to the tokenizer; a model that is given two, or none, answers worse.
    """
    ids: list[int] = tokenizer.encode(rendered, add_special_tokens=False).ids
    leading = leading_ids(tokenizer)
    return ids if ids[: len(leading)] == leading else leading + ids
