"""Vocabulary-only GGUF files for these tests, from plain values, and texts that are hard to tokenize."""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llorch.formats.gguf.file import read_header
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.bpe import byte_characters

Given = str | bytes | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]

U8, U32, I32, F32, BOOL, STRING, ARRAY = 0, 4, 5, 6, 7, 8, 9


def write_vocabulary(path: Path, keys: Mapping[str, Given]) -> Path:
    """Write a GGUF file with these keys and no tensors; a str is a string, bytes an array of u8, an int a u32 …"""
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(keys))
    path.write_bytes(head + b"".join(_string(key) + _value(value) for key, value in keys.items()))
    return path


def vocabulary_metadata(path: Path, keys: Mapping[str, Given]) -> Metadata:
    """Return the same metadata, read back by our own reader."""
    return read_header(write_vocabulary(path, keys)).metadata


def byte_pair_keys(pre: str, texts: Sequence[str], seed: int = 0) -> dict[str, Given]:
    """All bytes, and all pairs of bytes in the texts, as tokens, so that every split of a text shows in its ids."""
    characters = byte_characters()
    raw = [text.encode() for text in texts]
    held = {(text[i], text[i + 1]) for text in raw for i in range(len(text) - 1)}
    pairs = [(characters[left], characters[right]) for left, right in sorted(held)]
    random.Random(seed).shuffle(pairs)
    tokens = characters + [left + right for left, right in pairs]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * len(tokens),
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in pairs],
    }


BLANKS = [*" \t\n\r\u000b\u000c\u0085\u00a0\u2003\u2028\u3000", "\r\n", "  ", "   ", "\n\n", "\t "]
HARD = """
Hello World the quick HTTPServer iPhone camelCase ALLCAPS don't I'LL they're 'S x's we've I'm d'
déjà über Straße ΑΒΓ αβγ привет МИР שלום مرحبا नमस्ते สวัสดี 你好世界 こんにちは カタカナ 안녕하세요 ㄱㄴ ༄༅ ሰላም
e\u0301 a\u0308\u0301 ⁿ ² ½ Ⅷ ٣٤٥ १२३ 𝟘𝟙 ０１２ 1 12 123 1234 12345 1234567 1e10 3.14 2,000,000 0x1F
! ? ... -- == != <= -> :: /* */ // \\ # @ $ % ^ & * ( ) [ ] { } | ~ ` " ' “ ” « » … 。 、 ， ！ － ～
🦙 🏳️‍🌈 👩‍👩‍👧 ❤️ \u200d \ufeff \u200b € £ ¥ © ™ ∑ ≠ ǅ ʰ ſ ǆ Ǆ _ ▁ Ġ İ ı
"""
PARTS = HARD.split()


def hard_texts(count: int, seed: int = 0) -> list[str]:
    """Random strings of words in many scripts, digits, marks, all kinds of blanks and symbols, joined or separated."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        pieces = [
            rng.choice(PARTS) if rng.random() < 0.65 else rng.choice(BLANKS) * rng.choice((1, 1, 1, 2, 5))
            for _ in range(rng.randrange(1, 14))
        ]
        texts.append("".join(pieces))
    return texts


@dataclass(frozen=True)
class Trained:
    """A SentencePiece model as in its .model file."""

    pieces: list[str]
    scores: list[float]
    types: list[int]
    charsmap: bytes


def read_sentencepiece(model: bytes) -> Trained:
    """Return pieces and normalization map. Source: google/sentencepiece, src/sentencepiece_model.proto."""
    trained = Trained([], [], [], b"".join(_fields(b"".join(_fields(model).get(3, [])))[2]))
    for piece in _fields(model)[1]:
        fields = _fields(piece)
        trained.pieces.append(fields[1][0].decode())
        trained.scores.append(struct.unpack("<f", fields[2][0])[0])
        trained.types.append(fields[3][0][0] if 3 in fields else 1)
    return trained


def _fields(message: bytes) -> dict[int, list[bytes]]:
    """Return the fields of a protobuf message by number: one-byte varints, fixed32 and length-delimited ones."""
    at, fields = 0, defaultdict(list)

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        start = at
        if tag & 7 == 0:
            varint()
        else:
            length = 4 if tag & 7 == 5 else varint()
            start, at = at, at + length
        fields[tag >> 3].append(message[start:at])
    return fields


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Given) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<IB", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value) if value >= 0 else struct.pack("<Ii", I32, value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, bytes):
        return struct.pack("<IIQ", ARRAY, U8, len(value)) + value
    kind = (
        STRING
        if value and isinstance(value[0], str)
        else F32
        if value and isinstance(value[0], float)
        else I32
    )
    elements = {
        STRING: lambda: b"".join(_string(str(text)) for text in value),
        F32: lambda: struct.pack(f"<{len(value)}f", *value),
        I32: lambda: struct.pack(f"<{len(value)}i", *value),
    }[kind]()
    return struct.pack("<IIQ", ARRAY, kind, len(value)) + elements
