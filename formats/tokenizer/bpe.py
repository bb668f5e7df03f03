"""Byte-pair encoding with merges from the file: `gpt2` over byte characters, `gemma4` over raw text.

Source: llama.cpp, src/llama-vocab.cpp, `llm_tokenizer_bpe_session`.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Iterable
from typing import Literal

import numpy as np

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.merges import Merges
from llorch.formats.tokenizer.pretokenizers import PreTokenizer
from llorch.formats.tokenizer.special import SpecialTokens, post_processor
from llorch.formats.tokenizer.vocabulary import (
    MERGES,
    Json,
    Recipe,
    TokenType,
    Vocabulary,
    decode,
    require_short_tokens,
    require_unused_scores_fit,
)

Form = Literal["authors", "llama.cpp"]
BLANK = "▁"  # U+2581 stands for a blank in raw vocabularies


def byte_characters() -> list[str]:
    """Return the 256 characters that stand for bytes: printable Latin-1 for itself, the rest from U+0100 on.

    Source: openai/gpt-2, src/encoder.py, `bytes_to_unicode`.
    """
    shown_as_is = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in shown_as_is else chr(next(moved)) for byte in range(256)]


def bpe(
    metadata: Metadata, vocabulary: Vocabulary, special: SpecialTokens, pre: PreTokenizer, form: Form
) -> Recipe:
    """Return the recipe of a vocabulary with merges; MalformedInput for a merge with a part that is not a token."""
    require_unused_scores_fit(metadata, len(vocabulary))
    if pre.ranked and MERGES not in metadata:
        merges = merges_from_ranks(vocabulary)
    else:
        merges = read_merges(metadata, vocabulary, raw=pre.raw)
    model = bpe_model(vocabulary, merges, ignore_merges=pre.ignore_merges, byte_fallback=pre.raw)
    post = post_processor(special, vocabulary.tokens)
    if pre.raw:
        return Recipe(replace(" ", BLANK), split(r"[^\n]+|[\n]+"), model, raw_decoder(), post)
    patterns = pre.splits.authors if form == "authors" else pre.splits.llama_cpp
    notes = []
    if form == "authors" and pre.splits.authors != pre.splits.llama_cpp:
        notes.append(
            "the pre-tokenizer's expressions are the authors'; llama.cpp's engine differs on some text"
        )
    if form == "authors" and pre.nfc:
        notes.append("text is normalized to NFC, as the authors' tokenizer does; llama.cpp does not")
    steps = [split(pattern) for pattern in patterns]
    steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
    missing = [character for character in byte_characters() if character not in vocabulary.ids]
    if missing:
        # The library drops these characters before merging, which would join their neighbours; llama.cpp drops them
        # after merging. So they are split off.
        steps.append(split("[" + "".join("\\" + c if c in r"[]\^-&" else c for c in missing) + "]"))
    return Recipe(
        {"type": "NFC"} if form == "authors" and pre.nfc else None,
        {"type": "Sequence", "pretokenizers": steps},
        model,
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        post,
        notes=tuple(notes),
    )


def read_merges(metadata: Metadata, vocabulary: Vocabulary, *, raw: bool) -> Merges:
    """Read the merges in order of rank; of duplicates the first is kept, where the library would keep the last."""
    lines = dict.fromkeys(decode(metadata.texts(MERGES), MERGES, "merge"))
    return _plain_merges(lines, vocabulary) or _any_merges(lines, vocabulary, raw=raw)


def _plain_merges(lines: Collection[str], vocabulary: Vocabulary) -> Merges | None:
    """Parse all merges at once; None if a line is not two tokens and one blank, which is rare."""
    if not all(line.count(" ") == 1 for line in lines):
        return None
    parts = " ".join(lines).split(" ")
    left, right = parts[::2], parts[1::2]
    ids = [
        np.fromiter(map(vocabulary.ids.get, texts, itertools.repeat(-1)), np.int32, len(lines))
        for texts in (left, right, map(operator.add, left, right))
    ]
    return None if any((column < 0).any() for column in ids) else Merges(vocabulary.tokens, *ids)


def _any_merges(lines: Iterable[str], vocabulary: Vocabulary, *, raw: bool) -> Merges:
    """Parse the merges line by line, whatever blanks they hold; MalformedInput for a line that is not a merge."""
    ids = vocabulary.ids
    rows = []
    unusable: list[str] = []
    for line in lines:
        cut = line.find(" ", 1)  # a part may itself begin with a blank
        left, right = line[:cut], line[cut + 1 :]
        if cut < 0 or not right:
            raise MalformedInput(
                f"{printable(line)} is not two parts with a blank between", where=f"key '{MERGES}'"
            )
        if raw and not (left in ids and right in ids and left + right in ids):
            # Converters write a blank inside a part as Ġ.
            left, right = (part if part in ids else part.replace("Ġ", " ") for part in (left, right))
        if left in ids and right in ids and left + right in ids:
            rows.append((ids[left], ids[right], ids[left + right]))
        else:
            unusable.append(line)
    if unusable:
        raise MalformedInput(_unusable_message(unusable, ids), where=f"key '{MERGES}'")
    return Merges.of_rows(vocabulary.tokens, rows)


def merges_from_ranks(vocabulary: Vocabulary) -> Merges:
    """Derive the merges of a vocabulary in tiktoken's form, where a token's id is its rank in training order.

    The last merge of a token joins the two parts that remain after all merges of lower rank are applied.
    Source: openai/tiktoken, tiktoken/_educational.py, `bpe_encode`.
    """
    require_short_tokens(vocabulary)
    ids, rows = vocabulary.ids, []
    for rank, token in enumerate(vocabulary.tokens):
        if vocabulary.types[rank] != TokenType.NORMAL:
            continue
        parts = list(token)
        while len(parts) > 2:
            ranks = [ids.get(left + right, rank) for left, right in itertools.pairwise(parts)]
            lowest = min(ranks)
            if lowest == rank:
                break
            at = ranks.index(lowest)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2 and parts[0] in ids and parts[1] in ids:
            rows.append((ids[parts[0]], ids[parts[1]], rank))
    return Merges.of_rows(vocabulary.tokens, rows)


def bpe_model(
    vocabulary: Vocabulary,
    merges: Merges,
    *,
    ignore_merges: bool = False,
    byte_fallback: bool = False,
    fuse_unk: bool = False,
    unk_token: str | None = None,
) -> Json:
    """Return the BPE model of a tokenizer.json, over all tokens."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk_token,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": fuse_unk,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": vocabulary.ids,
        "merges": merges,
    }


def split(pattern: str) -> Json:
    """Return a Split that isolates every match of the pattern."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replace(text: str, content: str) -> Json:
    """Return a Replace of one text by another, as a normalizer or a decoder."""
    return {"type": "Replace", "pattern": {"String": text}, "content": content}


def raw_decoder(*, strip: bool = False) -> Json:
    """Return the decoder of raw pieces: blanks, byte fallback, fusing; with `strip`, removes the leading blank."""
    steps: list[Json] = [replace(BLANK, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if strip:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _unusable_message(lines: list[str], ids: dict[str, int]) -> str:
    """Return the message for merges that name unknown tokens: the first one, and the number of others."""
    left, _, right = lines[0].partition(" ")
    absent = [part for part in (left, right, left + right) if part not in ids]
    more = f", and {len(lines) - 1} more are like it" if len(lines) > 1 else ""
    return f"merge {printable(lines[0])} is about {printable(absent[0])}, which is not a token{more}"
