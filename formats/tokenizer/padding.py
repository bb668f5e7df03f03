"""Tokens at the end of a vocabulary that only pad it to the rows of the embedding; the original has none of them.

llama.cpp's converter writes one for every row of the embedding without a token, `[PAD151665]`, `[PAD151666]`, …, with
type UNUSED. Source: llama.cpp, conversion/base.py, `get_vocab_base` and `_create_vocab_sentencepiece`.
"""

from __future__ import annotations

import re

from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.merges import Merges
from llorch.formats.tokenizer.special import FIM_KEYS, SpecialTokens
from llorch.formats.tokenizer.vocabulary import MODEL, Json, TokenType, Vocabulary

_FILLER = re.compile(r"\[PAD\d+\]")
SENTENCEPIECE_KINDS = ("llama", "t5")  # original vocabularies of these may have UNUSED tokens at the end


def first_padding_id(metadata: Metadata, vocabulary: Vocabulary, special: SpecialTokens, model: Json) -> int:
    """Return the first id of the padding, or the vocabulary's size if it has none.

    model: of tokenizer.json. Tokens that a key or a merge names are not padding.
    """
    kind = metadata.text(MODEL)
    size = len(vocabulary)
    first = size
    while first and _is_padding(vocabulary, first - 1, kind):
        first -= 1
    if first == size:
        return size
    merges: Merges | None = model.get("merges")
    highest_merged = -1 if merges is None else merges.highest_id()
    named = (*special.ids.values(), *(metadata.integer(key, None) for key in FIM_KEYS), highest_merged)
    return max([first, *(index + 1 for index in named if index is not None and index >= first)])


def without_padding(model: Json, first: int) -> Json:
    """Return the model of tokenizer.json with only the tokens below `first`."""
    vocab = model["vocab"]
    if isinstance(vocab, list):
        return {**model, "vocab": vocab[:first]}
    return {**model, "vocab": {token: index for token, index in vocab.items() if index < first}}


def _is_padding(vocabulary: Vocabulary, index: int, kind: str) -> bool:
    """Return whether a token is padding.

    An UNUSED token is the converter's, except in SentencePiece vocabularies, where it must also have the padding's
    name.
    """
    unused = vocabulary.types[index] == TokenType.UNUSED
    return unused and (
        kind not in SENTENCEPIECE_KINDS or _FILLER.fullmatch(vocabulary.tokens[index]) is not None
    )
