"""Encode rendered prompts, with the tokenizer's leading special tokens exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def leading_ids(tokenizer: Tokenizer) -> list[int]:
    """The special tokens that the tokenizer adds before every text, such as BOS; empty if it adds none."""
    added: list[int] = tokenizer.encode("a").ids
    plain: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    ends = range(len(added) - len(plain) + 1)
    return added[: next((start for start in ends if added[start : start + len(plain)] == plain), 0)]


def encode_rendered(tokenizer: Tokenizer, rendered: str) -> list[int]:
    """Encode a prompt rendered by a chat template, with the tokenizer's leading special tokens exactly once.

    Some templates write BOS and others leave it to the tokenizer; a model given two, or none, answers worse.
    """
    ids: list[int] = tokenizer.encode(rendered, add_special_tokens=False).ids
    leading = leading_ids(tokenizer)
    return ids if ids[: len(leading)] == leading else leading + ids
