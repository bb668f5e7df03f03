"""The text and the bytes of a single token, even if they are no complete character."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from llorch.formats.tokenizer import byte_characters

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REPLACEMENT = "\ufffd"
SPACE = "\u2581"  # SentencePiece's character for a space
BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Text of a single token, special tokens included; keeps a leading space, which decoders drop at a text's start."""
    text: str = tokenizer.decode([token], skip_special_tokens=False)
    leading = (tokenizer.id_to_token(token) or "").startswith(SPACE)
    return f" {text}" if leading and not text.startswith(" ") else text


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """UTF-8 bytes of a token's text; of a token that is only part of a character, its own bytes."""
    text = token_text(tokenizer, token)
    if REPLACEMENT not in text:
        return text.encode()
    piece: str = tokenizer.id_to_token(token) or ""
    byte = BYTE_TOKEN.fullmatch(piece)
    if byte is not None:
        return bytes([int(byte[1], 16)])
    table = _byte_of_character()
    if all(character in table for character in piece):
        return bytes(table[character] for character in piece)
    return text.encode()


@cache
def _byte_of_character() -> dict[str, int]:
    return {character: byte for byte, character in enumerate(byte_characters())}
