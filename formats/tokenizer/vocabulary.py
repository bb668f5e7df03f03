"""The vocabulary of a GGUF file: tokens, types and scores by id, read and checked.

A token's id is its place in `tokenizer.ggml.tokens`. An inconsistent vocabulary (a repeated token, arrays of
different lengths, bytes that are not UTF-8) is an error, since no tokenizer.json could mean the same.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.gguf.metadata import INTEGERS, Metadata, StringArray

Json: TypeAlias = dict[str, Any]  # an object of tokenizer.json, whose shape the tokenizers library defines

MODEL = "tokenizer.ggml.model"
TOKENS = "tokenizer.ggml.tokens"
TYPES = "tokenizer.ggml.token_type"
SCORES = "tokenizer.ggml.scores"
MERGES = "tokenizer.ggml.merges"
# characters compared when every token is cut in all ways; the largest vocabulary needs 20 million
MOST_WORK = 1 << 28


class TokenType(enum.IntEnum):
    """Type of a token. Source: llama.cpp, include/llama.h, `enum llama_token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens and their types by id. ids: a token's id by its text. typed: whether the file has types.

    empty: the ids of tokens with an empty text, which are named [EMPTY_id] here.
    """

    tokens: list[str]
    types: list[int]
    typed: bool
    ids: dict[str, int]
    empty: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parts of a tokenizer.json that a tokenizer family builds from a vocabulary.

    clean_up: whether decoding removes blanks before punctuation, as authors of WordPiece models want it.
    notes: what was assumed; warnings: what may differ from the tokenizer that the model was trained with.
    tokens: the texts by id if they differ from the file's; else None.
    """

    normalizer: Json | None
    pre_tokenizer: Json | None
    model: Json
    decoder: Json
    post_processor: Json | None
    clean_up: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tokens: list[str] | None = None


def read_vocabulary(metadata: Metadata) -> Vocabulary:
    """Read the tokens and types of a file; MalformedInput names the key and the first wrong token."""
    tokens = decode(metadata.texts(TOKENS), TOKENS, "token")
    if not tokens:
        raise MalformedInput("holds no tokens", where=f"key '{TOKENS}'")
    empty = [index for index, token in enumerate(tokens) if not token]
    for index in empty:  # llama.cpp's name for them; the tokenizers library silently drops an empty token
        tokens[index] = f"[EMPTY_{index}]"
    ids = dict(zip(tokens, range(len(tokens)), strict=True))
    if len(ids) != len(tokens):
        raise MalformedInput(_repeats_message(tokens), where=f"key '{TOKENS}'")
    return Vocabulary(tokens, _types(metadata, len(tokens)), TYPES in metadata, ids, tuple(empty))


def decode(texts: StringArray, key: str, what: str) -> list[str]:
    """Decode all strings of an array; MalformedInput for the first one that is not UTF-8."""
    try:
        return texts.tolist()
    except UnicodeDecodeError:
        index = texts.first_invalid() or 0
        raise MalformedInput(
            f"{what} {index} is not UTF-8: {printable(texts.raw(index))}", where=f"key '{key}'"
        ) from None


def read_scores(metadata: Metadata, size: int) -> list[float] | None:
    """Return the scores by id, None if there are none; integers are accepted. MalformedInput unless all are finite."""
    value = metadata.get(SCORES)
    if value is None:
        return None
    given = metadata.integers(SCORES) if value.element in INTEGERS else metadata.numbers(SCORES)
    _require_length(SCORES, len(given), size)
    scores = given.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise MalformedInput(f"the score of token {bad[0]} is {scores[bad[0]]}", where=f"key '{SCORES}'")
    listed: list[float] = scores.tolist()
    return listed


def require_unused_scores_fit(metadata: Metadata, size: int) -> None:
    """Raise MalformedInput if unused scores do not match the tokens in number: such a file is damaged."""
    if SCORES in metadata:
        read_scores(metadata, size)


def require_short_tokens(vocabulary: Vocabulary) -> None:
    """Raise UnsupportedInput if the tokens are so long that trying all their cuts would take minutes."""
    lengths = np.fromiter(map(len, vocabulary.tokens), np.int64, len(vocabulary))
    work = int(lengths @ lengths)
    if work > MOST_WORK:
        raise UnsupportedInput(
            f"tokens are too long to find their merges: {work} steps, at most {MOST_WORK}",
            where=f"key '{TOKENS}'",
        )


def _types(metadata: Metadata, size: int) -> list[int]:
    types = metadata.integers(TYPES, None)
    if types is None:
        return [int(TokenType.NORMAL)] * size
    _require_length(TYPES, len(types), size)
    bad = np.flatnonzero((types < TokenType.UNDEFINED) | (types > TokenType.BYTE))
    if len(bad):
        raise MalformedInput(f"token {bad[0]} has the unknown type {types[bad[0]]}", where=f"key '{TYPES}'")
    listed: list[int] = types.tolist()
    return listed


def _require_length(key: str, length: int, size: int) -> None:
    if length != size:
        raise MalformedInput(f"has {length} elements for {size} tokens", where=f"key '{key}'")


def _repeats_message(tokens: list[str]) -> str:
    """Return the message for repeated tokens: the first one, and the number of others."""
    counts = Counter(tokens)
    repeated = [token for token, count in counts.items() if count > 1]
    first = tokens.index(repeated[0])
    again = tokens.index(repeated[0], first + 1)
    more = f", and {len(repeated) - 1} more tokens are repeated" if len(repeated) > 1 else ""
    return f"token {again} repeats token {first}, {printable(repeated[0])}{more}"
