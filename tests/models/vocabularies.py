"""Vocabularies of the tiny models, as the keys of a GGUF file: VOCAB entries of each kind that a family may need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VOCAB = 272
NORMAL, UNKNOWN_OR_CONTROL, UNUSED, BYTE = 1, 3, 5, 6
UNSCORED = -1000.0  # what llama.cpp's converter gives tokens that no text is cut into
PIECES = ["▁", "e", "h", "l", "o", "▁h", "he", "ll", "llo", "hello", "▁hello", "lo"]

Value = str | bool | int | float | list[Any]
Keys = dict[str, Value]


def byte_level(*control: str, **special: str) -> Keys:
    """Byte-level BPE: bos at 0, the bytes, eos at 257, a few merges, then control tokens, then padding.

    special: kinds of `tokenizer.ggml.…_token_id` → which of the control tokens has the role.
    """
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in keep]
    letters = {byte: chr(byte) for byte in keep} | {byte: chr(256 + n) for n, byte in enumerate(rest)}
    tokens = [
        "<|bos|>",
        *(letters[byte] for byte in range(256)),
        "<|eos|>",
        "he",
        "ll",
        "llo",
        "hello",
        *control,
    ]
    types = [3] + [NORMAL] * 256 + [3] + [NORMAL] * 4 + [3] * len(control) + [UNUSED] * (VOCAB - len(tokens))
    ids = {f"tokenizer.ggml.{role}_token_id": tokens.index(token) for role, token in special.items()}
    tokens += [f"[PAD{n}]" for n in range(len(tokens), VOCAB)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": ["h e", "l l", "ll o", "he llo"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.ggml.add_bos_token": False,
        **ids,
    }


def sentencepiece() -> Keys:
    """A SentencePiece model: padding, eos, bos, unknown (Gemma's order), the bytes, pieces by their scores."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [UNSCORED] * 4 + [0.0] * 256 + [-1.0 - n for n in range(len(PIECES))],
        "tokenizer.ggml.token_type": [UNKNOWN_OR_CONTROL] * 4 + [BYTE] * 256 + [NORMAL] * len(PIECES),
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }


def with_a_blank_before() -> Keys:
    """The same tokens, of texts that get a blank in front, as they do where no key says otherwise."""
    return {key: value for key, value in sentencepiece().items() if key != "tokenizer.ggml.add_space_prefix"}


def gemma4() -> Keys:
    """The same tokens as Gemma 4 has them: merges instead of scores."""
    keys = {key: value for key, value in sentencepiece().items() if key != "tokenizer.ggml.pre"}
    return {
        **keys,
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.scores": [UNSCORED] * VOCAB,
        "tokenizer.ggml.merges": ["▁ h", "h e", "l l", "ll o", "he llo", "▁ hello", "l o"],
    }


def token_ids(keys: Mapping[str, Value]) -> dict[str, Value | None]:
    """The ids of config.json that a vocabulary has."""
    roles = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return {f"{role}_token_id": keys.get(f"tokenizer.ggml.{name}_token_id") for role, name in roles.items()}
